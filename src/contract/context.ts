/**
 * What a running function can ask about its call: `context()`. The worker provides it around every
 * call, the SDK hands it to user code. The storage lives on `globalThis` under a registered symbol
 * because the worker and the user's bundle each carry their own copy of this module.
 */

import type { Trace } from "./trace.ts";

export interface ContextLog {
  debug(message: string, fields?: Record<string, unknown>): void;
  info(message: string, fields?: Record<string, unknown>): void;
  warn(message: string, fields?: Record<string, unknown>): void;
  error(message: string, fields?: Record<string, unknown>): void;
}

export interface Context {
  /**
   * Aborts when the caller is gone, the job is cancelled, or the time is over. On a worker the child
   * processes that the call has started get SIGTERM then, whether or not they were given this signal.
   */
  readonly signal: AbortSignal;
  /** The job, on queue endpoints. */
  readonly job?: { readonly id: string; readonly endpoint: string };
  /** Which attempt of the job this is, from 1. Always 1 on load-balanced endpoints. */
  readonly attempt: number;
  /** Writes one line to the endpoint's log, with its level and fields, and the job or request. */
  readonly log: ContextLog;
  /** Shows a value as the running job's output. Does nothing on load-balanced endpoints. */
  progress(value: unknown): void;
  /** The HTTP request, on load-balanced endpoints. */
  readonly request?: Request | undefined;
  /** When the work's time is over, epoch ms. */
  readonly deadline?: number;
  /**
   * The trace that this call belongs to (W3C trace context): the caller's, or a new one. Calls of other
   * endpoints carry it on by themselves; for anything else, `traceparent` is
   * `00-${traceId}-${spanId}-${isSampled ? "01" : "00"}`.
   */
  readonly trace: Trace;
  /** Name of the endpoint whose function made this call; undefined when a client did. */
  readonly caller?: string | undefined;
  /** The functions of endpoints that wait for this one, the outermost first, and this one last. */
  readonly chain: readonly string[];
}

/** What is needed of Node's AsyncLocalStorage, which this floor does not name: it runs anywhere. */
export interface ContextStorage {
  getStore(): Context | undefined;
  run<R>(context: Context, work: () => R): R;
  /** Runs `work` as nobody's. */
  exit<R>(work: () => R): R;
}

const KEY = Symbol.for("runpod-flash.context");

/** The process's storage of contexts; undefined until something that runs functions sets it. */
export function contextStorage(): ContextStorage | undefined {
  return (globalThis as { [KEY]?: ContextStorage })[KEY];
}

/** Sets the storage unless another copy of this module has; returns the one in use. */
export function provideContextStorage(create: () => ContextStorage): ContextStorage {
  const holder = globalThis as { [KEY]?: ContextStorage };
  holder[KEY] ??= create();
  return holder[KEY];
}

const OUTER = Symbol.for("runpod-flash.outer-context");

/** Says that `inner` belongs to a call in process, made by code that runs in `outer`. */
export function nestContext(inner: Context, outer: Context | undefined): Context {
  return outer === undefined ? inner : Object.assign(inner, { [OUTER]: outer });
}

/** The context of the code that made this call in process; undefined when something else made it. */
export function outerContext(context: Context): Context | undefined {
  return (context as { [OUTER]?: Context })[OUTER];
}
