/**
 * Live execution: what `flash run --remote` and a live worker say to each other. A live worker has no
 * code of its own; it runs the bundle that a request names, and answers `POST /execute` with one JSON
 * document, or with every event as it happens (`Accept: text/event-stream`). Only this program has that
 * path: what `flash deploy` deploys never does. Envelope and texts: spec/sdk.md 13.
 *
 *   client → worker   ExecuteRequest, with the bundle's digest; with its modules once that is asked for
 *   worker → client   LiveEvent …, the last one says how it ended
 */

import { FlashError, errorOfProblem, problemOf, type Problem } from "./errors.ts";
import { LIMITS } from "./limits.ts";
import type { FunctionManifest } from "./manifest.ts";
import { decodeRich } from "./rich.ts";
import type { Route } from "./routes.ts";

export const EXECUTE_PATH = "/execute";

/** The worker's secret, put on by the server that started it. What a client sends here is dropped. */
export const LIVE_SECRET_HEADER = "x-flash-worker-secret";

/** Entry and map of a bundle. */
export const BUNDLE_ENTRY = "index.mjs";
export const BUNDLE_MAP = "index.mjs.map";

export interface LiveBundle {
  /** SHA-256, hex, over the modules as canonical JSON. Names the bundle on a worker. */
  digest: string;
  /** Text by relative path, with `/`; `index.mjs` is evaluated. Undefined: the worker may have it. */
  modules?: Record<string, string>;
}

/** What is to be called, as the caller knows it. */
export interface LiveCall {
  execution_type: "function" | "class";
  function_name?: string;
  class_name?: string;
  method_name?: string;
  /** Load-balanced endpoints: names do not tell routes apart. */
  route?: Route;
  serialization_format: "json";
  /** One value for each positional argument, as `rich.ts` writes them. */
  args: unknown[];
  /** What `context()` gives besides. */
  context?: {
    attempt?: number;
    job?: { id: string; endpoint: string };
    /** Time that is left for the call, ms. */
    timeout_ms?: number;
    /** The HTTP request without its body, as `rich.ts` writes it. */
    request?: unknown;
  };
  /** How the arguments were bound: given where they come from a request, and judged by `input` then. */
  signature?: FunctionManifest;
}

export interface ExecuteRequest extends LiveCall {
  bundle: LiveBundle;
}

/** How an execution ended. */
export interface ExecuteAnswer {
  success: boolean;
  /** Of a success, as `rich.ts` writes it; of a stream all its values. Absent means a broken answer. */
  json_result?: unknown;
  /** Of a failure: a sentence. */
  error?: string;
  /** Of a failure: the same for programs, with the function's own error. */
  problem?: Problem;
  /** Of a failure: the error said itself that trying again is of no use. */
  retryable?: false;
  /** The bundle is not here: send the request again, with its modules. */
  needs_bundle?: true;
  /** What was written meanwhile, standard error included. Empty where it has been sent as events. */
  stdout?: string;
}

export type LiveEvent =
  | { stream: "stdout" | "stderr"; text: string }
  | { progress: unknown }
  /** The function has returned a stream; its values follow. */
  | { streams: true }
  | { chunk: unknown }
  | ExecuteAnswer;

/** The text of a bundle that is too large. Source: spec/sdk.md 13.4. */
export function bundleTooLarge(bytes: number): FlashError {
  return new FlashError(
    "PAYLOAD_TOO_LARGE",
    `Inline module payload is ${bytes} bytes, over the ${LIMITS.liveBundleBytes}-byte live-serverless cap. Use \`flash deploy\` for endpoints with large local dependencies.`,
    { hint: "Packages in the endpoint's `dependencies` do not count: they are installed once." },
  );
}

/** Bytes of a bundle's modules. */
export function bundleBytes(modules: Readonly<Record<string, string>>): number {
  const encoder = new TextEncoder();
  return Object.values(modules).reduce((sum, text) => sum + encoder.encode(text).length, 0);
}

export interface LiveListener {
  onOutput?: (output: { stream: "stdout" | "stderr"; text: string }) => void;
  onProgress?: (value: unknown) => void;
}

/**
 * What the function has returned: a value, or a stream of the values that are still to come. Throws
 * what it has thrown (`FUNCTION_ERROR`), what was wrong with the call, or `REMOTE_ERROR`.
 */
export async function resultOf(
  events: AsyncIterable<unknown>,
  listener: LiveListener = {},
): Promise<unknown> {
  const iterator = events[Symbol.asyncIterator]();
  const first = await nextEvent(iterator, listener);
  if ("streams" in first) return valuesOf(iterator, listener);
  return valueOf(first);
}

async function* valuesOf(iterator: AsyncIterator<unknown>, listener: LiveListener): AsyncGenerator {
  try {
    for (;;) {
      const event = await nextEvent(iterator, listener);
      if (!("chunk" in event)) {
        valueOf(event);
        return;
      }
      yield decodeResult(event.chunk);
    }
  } finally {
    await iterator.return?.();
  }
}

type Step = Exclude<LiveEvent, { text: string } | { progress: unknown }>;

/** The next event that is about the result. */
async function nextEvent(iterator: AsyncIterator<unknown>, listener: LiveListener): Promise<Step> {
  for (;;) {
    const next = await iterator.next();
    if (next.done === true) throw brokenAnswer("the answer ended early");
    const event = next.value as LiveEvent;
    if (typeof event !== "object" || event === null) {
      throw brokenAnswer(`Invalid response type: ${typeof event}`);
    }
    if ("text" in event) listener.onOutput?.(event);
    else if ("progress" in event) listener.onProgress?.(decodeResult(event.progress));
    else return event;
  }
}

/** The value of a success; throws what made it a failure. Texts: spec/sdk.md 13.2. */
function valueOf(event: Step): unknown {
  if (!("success" in event)) throw brokenAnswer("a value came outside of a stream");
  if (!event.success) throw failureOf(event);
  if (event.json_result === undefined) {
    throw brokenAnswer("Response marked success but result is None");
  }
  return decodeResult(event.json_result);
}

function decodeResult(json: unknown): unknown {
  try {
    return decodeRich(json, "result");
  } catch (cause) {
    throw brokenAnswer(`Failed to deserialize result: ${(cause as Error).message}`, cause);
  }
}

/** How a failure is told. A function's own error is known by its report, the sentence is for people. */
export function answerOfFailure(error: FlashError): ExecuteAnswer {
  const isOwn = error.code === "FUNCTION_ERROR";
  const { retryable } = (error.cause ?? {}) as { retryable?: unknown };
  return {
    success: false,
    error: isOwn ? `Function execution failed: ${error.message}` : error.message,
    problem: problemOf(error),
    ...(retryable === false ? { retryable } : {}),
  };
}

/** A failure as an error: the function's own where it has thrown, its class and causes included. */
export function failureOf({ error, problem, retryable }: ExecuteAnswer): FlashError {
  const known = errorOfProblem(problem);
  if (known === undefined) return brokenAnswer(`Remote execution failed: ${error ?? "no reason"}`);
  if (retryable === false && typeof known.cause === "object") {
    Object.assign(known.cause as object, { retryable });
  }
  return known;
}

function brokenAnswer(message: string, cause?: unknown): FlashError {
  return new FlashError("REMOTE_ERROR", message, {
    cause,
    hint: "Run the same version of runpod-flash here and on the server.",
  });
}
