/**
 * What a command says. stdout carries results, stderr carries talk: progress, warnings, errors. With
 * `--json` stdout carries exactly one JSON document, and nothing at all when the command failed.
 */

import { isatty } from "node:tty";
import pc from "picocolors";
import { Progress, wantsProgress } from "./progress.ts";

export interface OutputOptions {
  json: boolean;
  quiet: boolean;
  verbose: boolean;
  env: NodeJS.ProcessEnv;
}

export type Colors = ReturnType<typeof pc.createColors>;

export class Output {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly verbose: boolean;
  /** For text on stdout. */
  readonly colors: Colors;
  /** For text on stderr. */
  readonly talkColors: Colors;
  /** What long work is doing. */
  readonly progress: Progress;

  constructor(options: OutputOptions) {
    this.json = options.json;
    this.quiet = options.quiet;
    this.verbose = options.verbose;
    this.colors = pc.createColors(wantsColor(options.env, 1));
    this.talkColors = pc.createColors(wantsColor(options.env, 2));
    this.progress = new Progress({
      isShown: wantsProgress(options.env, options),
      color: this.talkColors.cyan,
    });
  }

  /** A result for people. With `--json` it is left out: the document says it. */
  print(text = ""): void {
    if (!this.json) this.data(text);
  }

  /** Text that is the result itself, whatever the flags: a key, a help page, a line of a stream. */
  data(text: string): void {
    this.progress.erase();
    process.stdout.write(`${text}\n`);
  }

  /** The one document of `--json`; without the flag nothing. */
  document(value: unknown): void {
    if (this.json) process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
  }

  /** Progress and advice. Silenced by `--quiet`. */
  say(text: string): void {
    if (!this.quiet) this.#talk(text);
  }

  /** Details for `--verbose`. */
  detail(text: string): void {
    if (this.verbose) this.#talk(this.talkColors.dim(text));
  }

  warn(text: string): void {
    if (!this.quiet) this.#talk(`${this.talkColors.yellow("!")} ${text}`);
  }

  #talk(text: string): void {
    this.progress.erase();
    process.stderr.write(`${text}\n`);
  }
}

/** Explicit wishes first, then whether a person is looking. Source: no-color.org, force-color.org. */
function wantsColor(env: NodeJS.ProcessEnv, descriptor: 1 | 2): boolean {
  if ((env.NO_COLOR ?? "") !== "") return false;
  const force = env.FORCE_COLOR;
  if (force !== undefined) return force !== "0" && force !== "false";
  return isatty(descriptor) && env.TERM !== "dumb" && (env.CI ?? "") === "";
}

/**
 * Text in columns, each as wide as its widest cell, two spaces apart. Cells may hold colour codes; every
 * other control character is spelled out, so that what somebody else wrote can forge no row and no screen.
 */
export function columns(table: readonly (readonly string[])[], indent = ""): string {
  const rows = table.map((row) => row.map(spelledOut));
  const widths: number[] = [];
  for (const row of rows) {
    for (const [index, cell] of row.entries()) {
      widths[index] = Math.max(widths[index] ?? 0, widthOf(cell));
    }
  }
  return rows
    .map((row) => {
      const cells = row.map(
        (cell, index) => cell + " ".repeat((widths[index] ?? 0) - widthOf(cell)),
      );
      return `${indent}${cells.join("  ").trimEnd()}`;
    })
    .join("\n");
}

// oxlint-disable-next-line no-control-regex -- that is what it is about
const CONTROL = /\x1b(?!\[[\d;]*m)|(?!\x1b)\p{Cc}/gu;

/** `\x1b[2J` as `\x1b[2J`, in letters. Colour codes stay. */
export function spelledOut(text: string): string {
  return text.replace(CONTROL, (one) => `\\x${one.charCodeAt(0).toString(16).padStart(2, "0")}`);
}

const NO_INDENT = { first: "", next: "" };

/** Text in lines of at most 80 columns. */
export function wrap(text: string, indent: { first: string; next: string } = NO_INDENT): string {
  const { first, next } = indent;
  const lines: string[] = [];
  let line = first;
  for (const word of text.split(" ")) {
    const isEmpty = line === first || line === next;
    if (!isEmpty && line.length + 1 + word.length > 80) {
      lines.push(line);
      line = next + word;
    } else line += isEmpty ? word : ` ${word}`;
  }
  return [...lines, line].join("\n");
}

/** `1 endpoint`, `2 endpoints`. */
export function count(number: number, thing: string): string {
  return `${number} ${thing}${number === 1 ? "" : "s"}`;
}

/** `0.3s`, `12.0s`. */
export function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)}s`;
}

/** `0.2 MB`; whatever is smaller is shown in KB. */
export function megabytes(bytes: number): string {
  if (bytes < 100_000) return `${Math.max(1, Math.round(bytes / 1000))} KB`;
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}

function widthOf(cell: string): number {
  // oxlint-disable-next-line no-control-regex -- colour codes begin with ESC
  return cell.replaceAll(/\u001B\[[0-9;]*m/g, "").length;
}
