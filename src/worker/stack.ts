/**
 * Stacks as the author of the function wants to read them: positions in the original sources (Node
 * maps them), without frames of the worker runtime, the SDK and Node, and with paths that do not
 * start with the folder of some artifact.
 */

import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { ErrorReport } from "../contract/errors.ts";

export interface StackStyle {
  /** File or folder (with a slash at the end) of the worker runtime. */
  runtime: string;
  /** Folder of the endpoint's bundle. */
  bundleDir: string;
}

/** A position in a source file, 1-based. */
export interface Position {
  file: string;
  line: number;
  column: number;
}

const FRAME = /^\s+at /;
const LOCATION = /\(?((?:file:\/\/)?\/[^()]*?|[A-Za-z]:\\[^()]*?):(\d+):(\d+)\)?$/;

/** `runtimeUrl` is the URL of the running program: one bundled file, or `main` among its sources. */
export function stackStyle(runtimeUrl: string, bundlePath: string): StackStyle {
  const program = fileURLToPath(runtimeUrl);
  const isBundled = path.extname(program) === ".mjs";
  const runtime = isBundled ? program : `${path.dirname(path.dirname(program))}${path.sep}`;
  return { runtime, bundleDir: `${path.dirname(bundlePath)}${path.sep}` };
}

/** The stack without foreign frames. The message above the frames stays as it is. */
export function cleanStack(stack: string, style: StackStyle): string {
  const lines = stack.split("\n");
  const kept = lines.filter((line) => !FRAME.test(line) || isUserFrame(line, style));
  return kept.map((line) => (FRAME.test(line) ? shorten(line, style) : line)).join("\n");
}

/** The report with every stack in it cleaned. */
export function cleanReport(report: ErrorReport, style: StackStyle): ErrorReport {
  return {
    ...report,
    ...(report.stack === undefined ? {} : { stack: cleanStack(report.stack, style) }),
    ...(report.cause === undefined ? {} : { cause: cleanReport(report.cause, style) }),
  };
}

/** The report as strangers may see it: what happened, not where. */
export function withoutStacks(report: ErrorReport): ErrorReport {
  const { stack: _, cause, ...rest } = report;
  return { ...rest, ...(cause === undefined ? {} : { cause: withoutStacks(cause) }) };
}

/**
 * The lines around the place an error comes from, as the author wrote them; undefined when the
 * stack names no such place or the source is not at hand.
 */
export async function codeFrame(
  stack: string,
  bundlePath: string,
  style: StackStyle,
): Promise<string | undefined> {
  const frame = stack.split("\n").find((line) => FRAME.test(line) && isUserFrame(line, style));
  const position = frame === undefined ? undefined : positionOf(frame);
  if (position === undefined) return undefined;
  const source = await sourceOf(position.file, bundlePath);
  return source === undefined ? undefined : drawFrame(source, position);
}

function isUserFrame(line: string, style: StackStyle): boolean {
  if (/\(?node:/.test(line) || line.includes("/node_modules/runpod-flash/")) return false;
  const position = positionOf(line);
  if (position === undefined) return !/\(<anonymous>\)$|\(native\)$/.test(line);
  return style.runtime.endsWith(path.sep)
    ? !position.file.startsWith(style.runtime)
    : position.file !== style.runtime;
}

function positionOf(line: string): Position | undefined {
  const match = LOCATION.exec(line);
  if (match === null) return undefined;
  const [, place = "", row, column] = match;
  const start = place.lastIndexOf("(") + 1;
  const text = place.slice(start);
  const file = text.startsWith("file://") ? fileURLToPath(text) : text.replace(/^.*?at /, "");
  return { file, line: Number(row), column: Number(column) };
}

function shorten(line: string, style: StackStyle): string {
  return line.replaceAll(`file://${style.bundleDir}`, "").replaceAll(style.bundleDir, "");
}

/** The text of an original source: from the bundle's map, which carries it, or else from disk. */
async function sourceOf(file: string, bundlePath: string): Promise<string | undefined> {
  const { findSourceMap } = await import("node:module");
  const payload = findSourceMap(bundlePath)?.payload as
    | { sources: string[]; sourcesContent?: (string | null)[] }
    | undefined;
  const folder = path.dirname(bundlePath);
  const index =
    payload?.sources.findIndex((source) => {
      const name = source.startsWith("file://") ? fileURLToPath(source) : source;
      return path.resolve(folder, name) === file;
    }) ?? -1;
  const embedded = index < 0 ? undefined : payload?.sourcesContent?.[index];
  if (typeof embedded === "string") return embedded;
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

function drawFrame(source: string, { line, column }: Position): string {
  const lines = source.split("\n");
  const first = Math.max(1, line - 2);
  const last = Math.min(lines.length, line + 2);
  const width = String(last).length;
  const drawn: string[] = [];
  for (let number = first; number <= last; number++) {
    const mark = number === line ? ">" : " ";
    drawn.push(`${mark} ${String(number).padStart(width)} | ${lines[number - 1] ?? ""}`);
    if (number === line) drawn.push(`  ${" ".repeat(width)} | ${" ".repeat(column - 1)}^`);
  }
  return drawn.join("\n");
}
