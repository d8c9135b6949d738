/**
 * What is wrong with a project, in a form that programs and people read: one mistake each, with
 * file, line, code frame and hint. A build collects all of them before it gives up.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createColors } from "picocolors";
import { FlashError } from "../contract/errors.ts";

export interface Diagnostic {
  severity: "error" | "warning";
  message: string;
  /** The next step, a whole sentence. */
  hint?: string;
  /** Relative to the project, with `/`. */
  file?: string;
  /** From 1. */
  line?: number;
  /** From 1, in UTF-16 units. */
  column?: number;
  /** The lines around the place, with a caret. */
  frame?: string;
}

/** A place in a project file; line and column count from 1. */
export interface Place {
  file: string;
  line: number;
  column: number;
}

/** A diagnostic without its frame, which {@link finish} adds. */
export type Finding = Omit<Diagnostic, "frame">;

export function errorAt(place: Place | undefined, message: string, hint?: string): Finding {
  return { severity: "error", message, ...place, ...(hint === undefined ? {} : { hint }) };
}

export function warningAt(place: Place | undefined, message: string, hint?: string): Finding {
  return { severity: "warning", message, ...place, ...(hint === undefined ? {} : { hint }) };
}

/** Sorts by file and line, drops repetitions, adds frames: what the SDK and a check both see is shown once. */
export function finish(root: string, findings: readonly Finding[]): Diagnostic[] {
  const sources = new Map<string, string[] | undefined>();
  const seen = new Set<string>();
  const unique = findings.filter((finding) => {
    const key = JSON.stringify([finding.file, finding.line, finding.message]);
    if (seen.has(key)) return false;
    seen.add(key);
    return true;
  });
  return unique.sort(byPlace).map((finding) => {
    const frame = frameOf(root, finding, sources);
    return Object.assign(finding, frame === undefined ? {} : { frame });
  });
}

/** The error that ends a build. Its message holds every diagnostic, its details the data. */
export function buildFailed(diagnostics: readonly Diagnostic[]): FlashError {
  const errors = diagnostics.filter(({ severity }) => severity === "error").length;
  const count = `${errors} ${errors === 1 ? "error" : "errors"}`;
  return new FlashError("BUILD_FAILED", `${formatDiagnostics(diagnostics)}\n\n${count}.`, {
    details: { diagnostics: [...diagnostics] },
  });
}

/** Diagnostics as text for a terminal. `color` defaults to false. */
export function formatDiagnostics(
  diagnostics: readonly Diagnostic[],
  options: { color?: boolean } = {},
): string {
  const paint = createColors(options.color ?? false);
  return diagnostics
    .map((diagnostic) => {
      const { severity, message, hint, file, line, column, frame } = diagnostic;
      const head = severity === "error" ? paint.red("error") : paint.yellow("warning");
      const place = [file, line, column].filter((part) => part !== undefined).join(":");
      return [
        `${paint.bold(head)}: ${paint.bold(message)}`,
        ...(place === "" ? [] : [`  ${paint.cyan(place)}`]),
        ...(frame === undefined ? [] : [indent(frame, "  ")]),
        ...(hint === undefined ? [] : [`  ${paint.green("hint")}: ${indent(hint, "  ").trim()}`]),
      ].join("\n");
    })
    .join("\n\n");
}

/** Two lines before the place, the line itself, a caret below it. */
export function codeFrame(lines: readonly string[], line: number, column: number): string {
  const first = Math.max(1, line - 2);
  const last = Math.min(lines.length, line + 1);
  const width = String(last).length;
  const rows: string[] = [];
  for (let number = first; number <= last; number++) {
    const text = (lines[number - 1] ?? "").replaceAll("\t", " ");
    const mark = number === line ? ">" : " ";
    rows.push(`${mark} ${String(number).padStart(width)} | ${text.slice(0, 160)}`.trimEnd());
    if (number === line && column <= 160) {
      rows.push(`  ${" ".repeat(width)} | ${" ".repeat(column - 1)}^`);
    }
  }
  return rows.join("\n");
}

/** The frame of the first place that a stack names in a file of the project; undefined when there is none. */
export function frameOfStack(root: string, stack: string): string | undefined {
  const found = /([^\s():]+):(\d+):(\d+)\)?$/m.exec(stack);
  if (found === null) return undefined;
  const [, file = "", line, column] = found;
  const place = { file, line: Number(line), column: Number(column) };
  return frameOf(root, place, new Map());
}

function frameOf(
  root: string,
  { file, line, column }: Pick<Finding, "file" | "line" | "column">,
  sources: Map<string, string[] | undefined>,
): string | undefined {
  if (file === undefined || line === undefined) return undefined;
  if (!sources.has(file)) sources.set(file, readLines(join(root, file)));
  const lines = sources.get(file);
  if (lines === undefined || line > lines.length) return undefined;
  return codeFrame(lines, line, column ?? 1);
}

function readLines(path: string): string[] | undefined {
  try {
    return readFileSync(path, "utf8").split(/\r?\n/);
  } catch {
    return undefined;
  }
}

/** Sorts by file, line and column. */
export function byPlace(a: Partial<Place>, b: Partial<Place>): number {
  return (
    compare(a.file ?? "", b.file ?? "") ||
    (a.line ?? 0) - (b.line ?? 0) ||
    (a.column ?? 0) - (b.column ?? 0)
  );
}

/** By code units: `localeCompare` would make artifacts depend on the machine's language. */
export function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}

function indent(text: string, by: string): string {
  return text
    .split("\n")
    .map((line) => (line === "" ? line : by + line))
    .join("\n");
}
