/**
 * One running call: its context, its signal and its deadline. A call ends once, by its function, by
 * the clock, or by someone who no longer wants it; whoever waits is told at once, even when the
 * function pays no attention to its signal.
 */

import { AsyncLocalStorage } from "node:async_hooks";
import { encodeJson } from "../contract/carry.ts";
import { provideContextStorage, type Context } from "../contract/context.ts";
import { sentence } from "../contract/binder.ts";
import { FlashError, reportOf, type Issue } from "../contract/errors.ts";
import { abortable } from "../kit/abort.ts";
import { systemClock, type Clock } from "../kit/clock.ts";

export interface CallOptions {
  /** Fields that every line of `context().log` carries, such as the job's id. */
  who: Record<string, unknown>;
  attempt?: number;
  job?: { id: string; endpoint: string };
  /** Made when somebody asks for it. */
  request?: (signal: AbortSignal) => Request;
  /** Time from now after which the call is over, ms, and what is then said. */
  limit?: { ms: number; error: () => FlashError } | undefined;
  /** Receives progress values as JSON. */
  onProgress?: (value: unknown) => void;
  clock?: Clock;
}

const storage = provideContextStorage(() => new AsyncLocalStorage<Context>());
const calls = new WeakMap<Context, Call>();

export class Call {
  readonly context: Context;
  /** Names this call in logs. */
  readonly who: Record<string, unknown>;
  readonly #controller = new AbortController();
  readonly #cancelTimer: (() => void) | undefined;
  #unsettled: Promise<unknown> = Promise.resolve();

  constructor(options: CallOptions) {
    const { limit, clock = systemClock } = options;
    this.who = options.who;
    this.context = createContext(options, this.#controller.signal, clock);
    this.#cancelTimer =
      limit === undefined
        ? undefined
        : clock.after(Math.max(0, limit.ms), () => this.abort(limit.error()));
    calls.set(this.context, this);
  }

  /** The call that the running code belongs to, when it is known. */
  static current(): Call | undefined {
    const context = storage.getStore();
    return context === undefined ? undefined : calls.get(context);
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Ends the call with this reason. The first one counts. */
  abort(reason: unknown): void {
    // Listeners of the signal are user code of this call, whoever ends it.
    this.enter(() => this.#controller.abort(reason));
  }

  /** Runs `work` with the context. Rejects with the reason as soon as the call is aborted. */
  run<T>(work: () => Promise<T>): Promise<T> {
    const running = this.enter(work);
    this.#unsettled = running.catch(() => undefined);
    return abortable(running, this.signal);
  }

  /** Runs `work` with the context; `work` minds the signal itself. */
  enter<T>(work: () => T): T {
    return storage.run(this.context, work);
  }

  /** Resolves when the function itself has come to an end. */
  async settled(): Promise<void> {
    await this.#unsettled;
  }

  /** The call is over: its deadline no longer matters. */
  end(): void {
    this.#cancelTimer?.();
  }
}

function createContext(options: CallOptions, signal: AbortSignal, clock: Clock): Context {
  const { job, limit, request, who } = options;
  const context: Context = {
    signal,
    attempt: options.attempt ?? 1,
    ...(job === undefined ? {} : { job }),
    ...(limit === undefined ? {} : { deadline: clock.now() + limit.ms }),
    log: {
      debug: (message, fields) => writeLine({ level: "debug", message, who, fields }),
      info: (message, fields) => writeLine({ level: "info", message, who, fields }),
      warn: (message, fields) => writeLine({ level: "warn", message, who, fields }),
      error: (message, fields) => writeLine({ level: "error", message, who, fields }),
    },
    progress(value) {
      const issues: Issue[] = [];
      const json = encodeJson(value ?? null, {}, "progress", issues);
      if (issues.length > 0) {
        throw new FlashError("NOT_SERIALIZABLE", `JSON serialization error: ${sentence(issues)}`, {
          issues,
        });
      }
      if (!signal.aborted) options.onProgress?.(json);
    },
  };
  if (request !== undefined) defineRequest(context, () => request(signal));
  return context;
}

/**
 * Most functions never ask for it, and making one costs more than many of them take. Defined on the
 * finished object, because spreading an object with a getter calls it.
 */
function defineRequest(context: Context, make: () => Request): void {
  let made: Request | undefined;
  const get = (): Request => (made ??= make());
  Object.defineProperty(context, "request", { get, enumerable: true, configurable: true });
}

interface Line {
  level: string;
  message: string;
  who: Record<string, unknown>;
  fields: Record<string, unknown> | undefined;
}

/** Logging never throws into user code, whatever it is given. */
function writeLine({ level, message, who, fields }: Line): void {
  const head = { time: new Date().toISOString(), level, message };
  let line: string;
  try {
    line = JSON.stringify({ ...head, ...fields, ...head, ...who }, withoutCycles());
  } catch (error) {
    line = JSON.stringify({ ...head, ...who, fields: `cannot be shown: ${String(error)}` });
  }
  process.stdout.write(`${line}\n`);
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
