/**
 * One line on a terminal that says what long work is doing, and is gone when the work is done. Only a
 * person sees it: without a terminal, with `--json` or `--quiet`, and in CI there is nothing at all.
 */

import type { BuildStep } from "../compiler/compiler.ts";

const FRAMES = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"] as const;
const FRAME_MS = 80;
/** To the start of the line, and nothing right of there. */
const ERASE = "\r\u001B[K";

/** What a build says that it is doing. */
export const STEP_WORDS: Readonly<Record<BuildStep, string>> = {
  scan: "looking for endpoints",
  describe: "reading declarations",
  types: "reading types",
  check: "checking",
  bundle: "bundling",
  packages: "installing packages",
  pack: "packing",
};

export interface ProgressOptions {
  isShown: boolean;
  /** Colours the sign in front; NO_COLOR and the like are decided already. */
  color: (text: string) => string;
}

export class Progress {
  readonly #options: ProgressOptions;
  #text: string | undefined;
  #timer: NodeJS.Timeout | undefined;
  #frame = 0;

  constructor(options: ProgressOptions) {
    this.#options = options;
  }

  /** Says what is being done now, in place of what was said last. */
  show(text: string): void {
    if (!this.#options.isShown) return;
    this.#text = text;
    this.#timer ??= setInterval(() => this.#draw(), FRAME_MS).unref();
    this.#draw();
  }

  /** Makes room for other output; the line comes back by itself. */
  erase(): void {
    if (this.#text !== undefined) process.stderr.write(ERASE);
  }

  /** The work is done, well or not. Repeatable. */
  clear(): void {
    this.erase();
    this.#text = undefined;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  #draw(): void {
    if (this.#text === undefined) return;
    const sign = FRAMES[this.#frame++ % FRAMES.length] ?? "";
    // A line that wraps could not be erased.
    const room = Math.max(0, (process.stderr.columns || 80) - 4);
    process.stderr.write(`${ERASE}${this.#options.color(sign)} ${this.#text.slice(0, room)}`);
  }
}

/** Whether a person looks on who would like to know. */
export function wantsProgress(
  env: NodeJS.ProcessEnv,
  { json, quiet }: { json: boolean; quiet: boolean },
): boolean {
  if (json || quiet || (env.CI ?? "") !== "" || env.TERM === "dumb") return false;
  return process.stderr.isTTY;
}
