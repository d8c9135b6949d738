/**
 * Lines of output: what is known about one, and how a worker of ours says so.
 *
 * A worker under a compute driver that asks for it ({@link WORKER_ENV}.output) writes all it has to say
 * on stdout, so that its lines stay in order, and begins those about which more is known than their
 * text with a tag:
 *
 *   0x1E {"job":"…","attempt":1,"level":"warn"} 0x1F the text of the line
 *   0x1E {"job":"…","level":"info","message":"…","fields":{…}} 0x1F
 *   0x1E {"span":{…}} 0x1F                         a function has run: no line, but part of a trace
 *
 * Anything else is a line without a tag. So output that is no worker's, such as that of a child process
 * or of the engine itself, needs no agreement.
 */

import { isPlainJsonObject } from "./json.ts";
import { readFunctionSpan, type FunctionSpan } from "./span.ts";

export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What is known about a line beside its text. */
export interface LineFacts {
  level?: LogLevel;
  /** The job that the writing function ran for, and the attempt. */
  job?: string;
  attempt?: number;
  /** The request, on load-balanced endpoints. */
  request?: string;
  /** Trace id, when the call belongs to a trace. */
  trace?: string;
  /** What `context().log` was given beside the message. */
  fields?: Record<string, unknown>;
}

export interface LineTag extends LineFacts {
  /** Default `stdout`. */
  stream?: "stderr";
  /** Takes the place of the text: it may have several lines. */
  message?: string;
  /** No line at all: a function has run, and its trace is kept. */
  span?: FunctionSpan;
}

const TAG_START = "\u001E";
const TAG_END = "\u001F";

/** What stands before the text of a tagged line. */
export function tagText(tag: LineTag): string {
  return `${TAG_START}${JSON.stringify(tag)}${TAG_END}`;
}

/** A tag and the text behind it; undefined when the line has none. */
export function readTag(line: string): { tag: LineTag; text: string } | undefined {
  if (!line.startsWith(TAG_START)) return undefined;
  const end = line.indexOf(TAG_END);
  if (end === -1) return undefined;
  const head = line.slice(1, end);
  // Who writes one line writes more: most tags are the one before.
  if (head !== last?.head) {
    const tag = parseTag(head);
    if (tag === undefined) return undefined;
    last = { head, tag };
  }
  return { tag: last.tag, text: line.slice(end + 1) };
}

let last: { head: string; tag: LineTag } | undefined;

function parseTag(head: string): LineTag | undefined {
  let value: unknown;
  try {
    value = JSON.parse(head);
  } catch {
    return undefined;
  }
  return isPlainJsonObject(value) ? checkedTag(value) : undefined;
}

/** User code can write to stdout what it likes: what does not fit is left out. */
function checkedTag(value: Record<string, unknown>): LineTag {
  const { stream, level, attempt, fields } = value;
  const span = readFunctionSpan(value["span"]);
  return {
    ...(stream === "stderr" ? { stream } : {}),
    ...(isLogLevel(level) ? { level } : {}),
    ...textMember(value, "job"),
    ...(Number.isSafeInteger(attempt) ? { attempt: attempt as number } : {}),
    ...textMember(value, "request"),
    ...textMember(value, "trace"),
    ...textMember(value, "message", Infinity),
    ...(isPlainJsonObject(fields) ? { fields } : {}),
    ...(span === undefined ? {} : { span }),
  };
}

function textMember(
  value: Record<string, unknown>,
  name: "job" | "request" | "trace" | "message",
  most = 256,
): LineTag {
  const text = value[name];
  return typeof text === "string" && text.length <= most ? { [name]: text } : {};
}

export function isLogLevel(value: unknown): value is LogLevel {
  return LOG_LEVELS.includes(value as LogLevel);
}

/** Of at least this level. */
export function isAtLeast(level: LogLevel, least: LogLevel): boolean {
  return LOG_LEVELS.indexOf(level) >= LOG_LEVELS.indexOf(least);
}
