/**
 * What the process writes, line by line with the call it belongs to: `console.log` in a function names
 * its job or request, however many run at once. Only where the server has asked for it; elsewhere
 * output stays as it is written. The form is that of contract/logs.ts.
 *
 *   O1  stdout and stderr leave on one pipe, in the order in which they were written;
 *   O2  nothing is kept: what has been written before a crash has left the process;
 *   O3  a call that writes nothing costs nothing.
 */

import { reportOf } from "../contract/errors.ts";
import { tagText, type LineFacts, type LogLevel } from "../contract/logs.ts";
import type { FunctionSpan } from "../contract/span.ts";
import { logTo, type Log } from "../kit/log.ts";

type StreamName = "stdout" | "stderr";
type Write = NodeJS.WriteStream["write"];

/** The call that the running code belongs to. */
export interface Speaker {
  /** Its job and attempt, or its request. */
  readonly who: LineFacts;
  /** Its trace id, when there is one that others know. */
  readonly knownTrace: string | undefined;
}

let currentSpeaker: () => Speaker | undefined = () => undefined;
/** Level of the console method that is writing. */
let consoleLevel: LogLevel | undefined;
/** Writes to the pipe; undefined while output is not tagged. */
let pipe: Write | undefined;
/** The tag of the line that is being written, "" for none; undefined at the beginning of a line. */
let openTag: string | undefined;

/** From now on every line says what it belongs to. Once for a process. */
export function tagOutput(speaker: () => Speaker | undefined): void {
  currentSpeaker = speaker;
  const { stdout, stderr } = process;
  pipe = stdout.write.bind(stdout);
  stdout.write = writer("stdout", pipe);
  stderr.write = writer("stderr", pipe); // O1
  for (const level of ["debug", "warn", "error"] as const) {
    const print = console[level].bind(console);
    console[level] = (...values: unknown[]): void => {
      const before = consoleLevel;
      consoleLevel = level;
      try {
        print(...values);
      } finally {
        consoleLevel = before;
      }
    };
  }
}

/** The worker's own log. */
export function workerLog(): Log {
  return logTo(({ level, message, fields }) => {
    const { job, attempt, request, ...rest } = fields;
    const who = { job, attempt, request } as LineFacts;
    writeEntry({ level, message, who, fields: rest, stream: "stderr" });
  });
}

/** Tells of a function that has run. Nothing where output is not tagged. */
export function writeSpan(span: FunctionSpan): void {
  if (pipe !== undefined) writeLine(tagText({ span }));
}

export interface Entry {
  level: LogLevel;
  message: string;
  /** Names the call. */
  who: LineFacts;
  fields?: Record<string, unknown> | undefined;
  trace?: string | undefined;
  stream: StreamName;
}

/** Writes an entry of a log. Never throws, whatever it is given. */
export function writeEntry({ level, message, who, fields = {}, trace, stream }: Entry): void {
  const traced = trace === undefined ? {} : { trace };
  if (pipe === undefined) {
    const head = { time: new Date().toISOString(), level, message };
    process[stream].write(`${jsonOf({ ...head, ...fields, ...head, ...who, ...traced })}\n`);
    return;
  }
  const own = stream === "stderr" ? { stream } : {};
  const facts = { ...own, level, message, ...who, ...traced };
  const text = Object.keys(fields).length === 0 ? jsonOf(facts) : jsonOf({ ...facts, fields });
  writeLine(tagText(JSON.parse(text) as LineFacts));
}

function writeLine(line: string): void {
  const before = openTag === undefined ? "" : "\n";
  openTag = undefined;
  pipe?.(`${before}${line}\n`);
}

function writer(stream: StreamName, write: Write): Write {
  const tagged = (chunk: string | Uint8Array, ...rest: never[]): boolean => {
    const tag = tagOf(stream);
    if (tag === "" && openTag === undefined && typeof chunk === "string") {
      openTag = chunk === "" || chunk.endsWith("\n") ? undefined : "";
      return write(chunk, ...rest);
    }
    const text = typeof chunk === "string" ? chunk : Buffer.from(chunk).toString("utf8");
    // What follows the chunk is its encoding, which the text no longer has, and a callback.
    return write(withTag(text, tag), ...rest.filter((one) => typeof one === "function"));
  };
  return tagged;
}

function withTag(text: string, tag: string): string {
  let out = "";
  for (let from = 0; from < text.length;) {
    const end = text.indexOf("\n", from);
    const next = end === -1 ? text.length : end + 1;
    // Somebody else's line is ended: each part of what shares a line keeps its own name.
    if (openTag !== tag) out += openTag === undefined ? tag : `\n${tag}`;
    out += text.slice(from, next);
    openTag = end === -1 ? tag : undefined;
    from = next;
  }
  return out;
}

function tagOf(stream: StreamName): string {
  const call = currentSpeaker();
  if (call === undefined && stream === "stdout" && consoleLevel === undefined) return "";
  const trace = call?.knownTrace;
  return tagText({
    ...(stream === "stderr" ? { stream } : {}),
    ...(consoleLevel === undefined ? {} : { level: consoleLevel }),
    ...call?.who,
    ...(trace === undefined ? {} : { trace }),
  });
}

/** JSON of what user code hands in: no line of a log is a place to fail. */
function jsonOf(value: Record<string, unknown>): string {
  try {
    return JSON.stringify(value, withoutCycles());
  } catch (error) {
    const { fields: _, ...rest } = value;
    const { time, level, message, job, attempt, request } = rest;
    const fields = { unwritable: `cannot be shown: ${String(error)}` };
    return JSON.stringify({ time, level, message, job, attempt, request, fields });
  }
}

function withoutCycles(): (this: unknown, key: string, value: unknown) => unknown {
  const ancestors: unknown[] = [];
  return function (key, value) {
    if (typeof value === "bigint") return value.toString();
    if (value instanceof Error) return reportOf(value);
    if (typeof value !== "object" || value === null) return value;
    // `this` holds the value: whatever lies deeper than it is a sibling's child, no ancestor.
    ancestors.length = ancestors.indexOf(this) + 1;
    if (ancestors.includes(value)) return `[circular: ${key}]`;
    ancestors.push(value);
    return value;
  };
}
