/**
 * What is wrong with the types of one function, each thing once. A result has no mistakes: it is
 * described as far as it can be.
 */

import type { JsonSchema } from "../../contract/schema.ts";

export interface TypeProblem {
  severity: "error" | "warning";
  message: string;
  hint?: string;
}

export class TypeProblems {
  readonly all: TypeProblem[] = [];
  readonly #isInput: boolean;
  readonly #reported = new Set<string>();

  constructor(direction: "input" | "output") {
    this.#isInput = direction === "input";
  }

  /** JSON cannot carry it: `{}` stands for it. */
  refuse(at: string, message: string, hint?: string): JsonSchema {
    if (this.#isInput) this.error(`${at} ${message}`, hint);
    return {};
  }

  /** For what a type says and no schema can. */
  leaveUnchecked(at: string, what: string): void {
    this.warnInput(
      `${at}: ${what} is unchecked, because JSON Schema cannot express it.`,
      "Check it inside the function.",
    );
  }

  warnInput(message: string, hint: string): void {
    if (this.#isInput) this.#report({ severity: "warning", message, hint });
  }

  error(message: string, hint?: string): void {
    this.#report({ severity: "error", message, ...(hint === undefined ? {} : { hint }) });
  }

  #report(problem: TypeProblem): void {
    if (this.#reported.has(problem.message)) return;
    this.#reported.add(problem.message);
    this.all.push(problem);
  }
}
