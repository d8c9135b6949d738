/** Running a user's function in this process, inside a context as a worker would give it. */

import {
  contextStorage,
  nestContext,
  provideContextStorage,
  type Context,
  type ContextStorage,
} from "../contract/context.ts";
import type { Trace } from "../contract/trace.ts";
import { newTrace } from "../kit/ids.ts";
import { createLog } from "../kit/log.ts";
import { nodeProcess } from "./environment.ts";

/** The context of the function that makes this call, if one does. */
export function callerContext(): Context | undefined {
  return contextStorage()?.getStore();
}

/** What an in-process call adds to the defaults. */
export interface Surroundings {
  job?: { id: string; endpoint: string };
  signal?: AbortSignal | undefined;
  onProgress?: (value: unknown) => void;
}

/**
 * Calls `work` inside a context of its own and returns exactly what it returns; exceptions arrive
 * unchanged. The caller's deadline and abort signal go on to it.
 */
export function runInProcess<T>(work: () => T, surroundings: Surroundings = {}): T {
  const storage = openStorage();
  if (storage === undefined) return work();
  const inner = newContext(surroundings);
  const result = storage.run(inner, work);
  return (isAsyncGenerator(result) ? streamInContext(storage, inner, result) : result) as T;
}

/** All values of a stream; anything else as it is. What a queue function's plain call gives. */
export async function collect(result: unknown): Promise<unknown> {
  const value = await result;
  if (!isStream(value)) return value;
  const chunks: unknown[] = [];
  for await (const chunk of value) chunks.push(chunk);
  return chunks;
}

export function isStream(value: unknown): value is AsyncIterable<unknown> | Generator {
  return (
    typeof value === "object" &&
    value !== null &&
    (Symbol.asyncIterator in value || (Symbol.iterator in value && "throw" in value))
  );
}

function isAsyncGenerator(value: unknown): value is AsyncGenerator<unknown, unknown, unknown> {
  return (
    typeof value === "object" && value !== null && Symbol.asyncIterator in value && "throw" in value
  );
}

/**
 * The same generator, with every step taken inside `inner`: its body runs in the context of whoever
 * asks for the next value, not of whoever called the function.
 */
function streamInContext<T, R, N>(
  storage: ContextStorage,
  inner: Context,
  source: AsyncGenerator<T, R, N>,
): AsyncGenerator<T, R, N> {
  const stream: AsyncGenerator<T, R, N> = {
    next: (...args) => storage.run(inner, () => source.next(...args)),
    return: (value) => storage.run(inner, () => source.return(value)),
    throw: (error) => storage.run(inner, () => source.throw(error)),
    [Symbol.asyncIterator]: () => stream,
    [Symbol.asyncDispose]: async () => {
      await stream.return(undefined as R);
    },
  };
  return stream;
}

function openStorage(): ContextStorage | undefined {
  const hooks = nodeProcess()?.getBuiltinModule("node:async_hooks");
  if (hooks === undefined) return contextStorage();
  return provideContextStorage(() => new hooks.AsyncLocalStorage<Context>());
}

function newContext({ job, signal, onProgress }: Surroundings): Context {
  const outer = callerContext();
  const signals = [outer?.signal, signal].filter((one) => one !== undefined);
  let trace: Trace | undefined;
  const inner: Context = {
    signal: AbortSignal.any(signals),
    attempt: 1,
    log: outer?.log ?? stderrLog,
    progress: (value) => onProgress?.(value),
    ...(job === undefined ? {} : { job }),
    ...(outer?.deadline === undefined ? {} : { deadline: outer.deadline }),
    get trace() {
      return (trace ??= outer?.trace ?? newTrace());
    },
    ...(outer?.caller === undefined ? {} : { caller: outer.caller }),
    chain: outer?.chain ?? [],
  };
  return nestContext(inner, outer);
}

const stderrLog = /* @__PURE__ */ createLog({
  format: "text",
  level: "debug",
  write: (line) => console.error(line.trimEnd()),
});
