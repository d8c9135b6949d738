/** The programs' own log: JSON lines for machines, short lines for people. Never on stdout. */

import { isAtLeast, type LogLevel } from "../contract/logs.ts";

export interface Log {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
  /** A log that adds these fields to every line. */
  with(fields: Record<string, unknown>): Log;
}

export interface LogOptions {
  /** Lowest level written. Default `info`. */
  level?: LogLevel;
  /** `json` one object a line; `text` for a terminal. Default `json`. */
  format?: "json" | "text";
  write: (line: string) => void;
  now?: () => number;
}

/** What one line says. */
export interface LogEntry {
  level: LogLevel;
  message: string;
  fields: Record<string, unknown>;
}

export function createLog(options: LogOptions): Log {
  const least = options.level ?? "info";
  return logTo((entry) => {
    if (!isAtLeast(entry.level, least)) return;
    const time = new Date(options.now?.() ?? Date.now()).toISOString();
    options.write(options.format === "text" ? textLine(time, entry) : jsonLine(time, entry));
  });
}

/** A log whose lines go to `take`, whatever their level. */
export function logTo(take: (entry: LogEntry) => void, fields: Record<string, unknown> = {}): Log {
  const write =
    (level: LogLevel) =>
    (message: string, extra?: Record<string, unknown>): void =>
      take({ level, message, fields: extra === undefined ? fields : { ...fields, ...extra } });
  return {
    debug: write("debug"),
    info: write("info"),
    warn: write("warn"),
    error: write("error"),
    with: (extra) => logTo(take, { ...fields, ...extra }),
  };
}

function textLine(time: string, { level, message, fields }: LogEntry): string {
  return `${time.slice(11, 19)} ${level.padEnd(5)} ${message}${fieldsText(fields)}\n`;
}

function jsonLine(time: string, { level, message, fields }: LogEntry): string {
  const head = { time, level, message };
  // The head comes first, and no field takes its place.
  return `${jsonOf({ ...head, ...fields, ...head })}\n`;
}

/** A log that says nothing, for tests and embedding. */
export const silentLog: Log = createLog({ write: () => undefined, level: "error" });

/**
 * A message for people: the fields behind it, as ` key=value`, and the stack of an error, with what it was caused
 * by, and a code frame on lines of their own.
 */
export function entryText(message: string, fields: Record<string, unknown>): string {
  const { error, frame, ...others } = fields;
  const stack = stackText(error);
  const rest = stack === undefined && error !== undefined ? { ...others, error } : others;
  const below = [stack, frame].filter((one) => typeof one === "string");
  return [message + fieldsText(rest), ...below.map(indented)].join("\n");
}

/** Undefined for what is no error, or has no stack to show. */
function stackText(error: unknown): string | undefined {
  const { stack, cause } = (error ?? {}) as { stack?: unknown; cause?: unknown };
  if (typeof stack !== "string" || !stack.includes("\n")) return undefined;
  const reason = stackText(cause);
  return reason === undefined ? stack : `${stack}\ncaused by: ${reason}`;
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, "  ");
}

/** Fields behind a message, for people: ` key=value`. */
function fieldsText(fields: Record<string, unknown>): string {
  return Object.entries(fields)
    .map(([key, value]) => ` ${key}=${typeof value === "string" ? value : jsonOf(value)}`)
    .join("");
}

/** Fields may come from user code: a line of the log is no place to fail. */
function jsonOf(value: unknown): string {
  try {
    return JSON.stringify(value, (_, item: unknown) => {
      if (typeof item === "bigint") return String(item);
      if (!(item instanceof Error)) return item;
      return { name: item.name, message: item.message, stack: item.stack };
    });
  } catch (error) {
    const { time, level, message } = value as Record<string, unknown>;
    return JSON.stringify({ time, level, message, unwritable: (error as Error).message });
  }
}
