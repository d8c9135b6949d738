/** A list with checkboxes in the terminal: arrows move, space marks, Enter confirms, Esc gives up. */

import { emitKeypressEvents, type Key } from "node:readline";
import { FlashError } from "../contract/errors.ts";
import type { Colors } from "./output.ts";
import { hasTerminal } from "./prompt.ts";

export interface SelectOptions {
  choices: readonly string[];
  colors: Colors;
  signal: AbortSignal;
}

/** Positions of the marked choices; none when it was given up. Throws `INVALID_USAGE` without a terminal. */
export async function selectMany(question: string, options: SelectOptions): Promise<number[]> {
  if (!hasTerminal()) {
    throw new FlashError("INVALID_USAGE", "A choice needs a terminal, and there is none.", {
      hint: "Name the endpoint, or use --all.",
    });
  }
  const { stdin, stderr } = process;
  const list = new Checklist(options.choices.length);
  const draw = (isFirst: boolean): void => {
    if (!isFirst) stderr.write(`\u001B[${options.choices.length}A`);
    for (const line of list.lines(options)) stderr.write(`\u001B[2K${line}\n`);
  };
  stderr.write(`${question} ${options.colors.dim("(space marks, Enter confirms)")}\n`);
  draw(true);
  emitKeypressEvents(stdin);
  stdin.setRawMode(true);
  stdin.resume();
  try {
    return await new Promise<number[]>((resolve, reject) => {
      const end = (chosen: number[]): void => {
        stdin.off("keypress", onKey);
        resolve(chosen);
      };
      const onKey = (_: string | undefined, key: Key): void => {
        if (key.ctrl === true && key.name === "c") process.kill(process.pid, "SIGINT");
        // A key that was pressed before the terminal listened key by key is a line feed.
        else if (key.name === "return" || key.name === "enter") end(list.marked);
        else if (key.name === "escape") end([]);
        else if (list.press(key.name ?? "")) draw(false);
      };
      options.signal.addEventListener("abort", () => reject(options.signal.reason as Error), {
        once: true,
      });
      stdin.on("keypress", onKey);
      stdin.once("end", () => end([]));
    });
  } finally {
    stdin.setRawMode(false);
    stdin.pause();
  }
}

/** What is marked, and where the cursor is. */
export class Checklist {
  readonly #marks = new Set<number>();
  readonly #size: number;
  #cursor = 0;

  constructor(size: number) {
    this.#size = size;
  }

  get marked(): number[] {
    return [...this.#marks].sort((a, b) => a - b);
  }

  /** True when the key changed anything. */
  press(key: string): boolean {
    if (key === "up" || key === "k") this.#cursor = (this.#cursor + this.#size - 1) % this.#size;
    else if (key === "down" || key === "j") this.#cursor = (this.#cursor + 1) % this.#size;
    else if (key === "space") this.#toggle();
    else return false;
    return true;
  }

  lines({ choices, colors }: Pick<SelectOptions, "choices" | "colors">): string[] {
    return choices.map((choice, index) => {
      const mark = this.#marks.has(index) ? colors.green("[x]") : "[ ]";
      return index === this.#cursor
        ? `${colors.cyan(">")} ${mark} ${choice}`
        : `  ${mark} ${choice}`;
    });
  }

  #toggle(): void {
    if (!this.#marks.delete(this.#cursor)) this.#marks.add(this.#cursor);
  }
}
