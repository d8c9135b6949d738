/** The programs' own log: JSON lines for machines, short lines for people. Never on stdout. */

export type Level = "debug" | "info" | "warn" | "error";

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
  level?: Level;
  /** `json` one object a line; `text` for a terminal. Default `json`. */
  format?: "json" | "text";
  write: (line: string) => void;
  now?: () => number;
}

const ORDER: readonly Level[] = ["debug", "info", "warn", "error"];

export function createLog(options: LogOptions, fields: Record<string, unknown> = {}): Log {
  const least = ORDER.indexOf(options.level ?? "info");
  const write = (level: Level, message: string, extra: Record<string, unknown> = {}): void => {
    if (ORDER.indexOf(level) < least) return;
    const all = { ...fields, ...extra };
    const time = new Date(options.now?.() ?? Date.now()).toISOString();
    const head = { time, level, message };
    options.write(
      options.format === "text"
        ? `${time.slice(11, 19)} ${level.padEnd(5)} ${message}${textOf(all)}\n`
        : // The head comes first, and no field takes its place.
          `${jsonOf({ ...head, ...all, ...head })}\n`,
    );
  };
  return {
    debug: (message, extra) => write("debug", message, extra),
    info: (message, extra) => write("info", message, extra),
    warn: (message, extra) => write("warn", message, extra),
    error: (message, extra) => write("error", message, extra),
    with: (extra) => createLog(options, { ...fields, ...extra }),
  };
}

/** A log that says nothing, for tests and embedding. */
export const silentLog: Log = createLog({ write: () => undefined, level: "error" });

function textOf(fields: Record<string, unknown>): string {
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
