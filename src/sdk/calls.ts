/** Calls to deployed endpoints: arguments to a request or a job, and the answer back. */

import type { EncodedCall } from "../contract/binder.ts";
import { FlashError, type ErrorCode } from "../contract/flash-error.ts";
import type { JobDocument } from "../contract/job.ts";
import { LIMITS } from "../contract/limits.ts";
import type { FunctionManifest } from "../contract/manifest.ts";
import { fillPath, type Route } from "../contract/routes.ts";
import { EXPECTED_VERSION_HEADER, RESULT_HEADER } from "../contract/worker-env.ts";
import type { Peer } from "./connection.ts";
import {
  binderOf,
  describeEndpoint,
  forgetEndpoint,
  functionOf,
  revive,
  routeOf,
} from "./directory.ts";
import { readVariable } from "./environment.ts";
import { readAnswer } from "./answer.ts";
import { ensureOk, exchange, timeoutError } from "./exchange.ts";
import { isStream } from "./in-process.ts";
import { jobFailure } from "./failure.ts";
import { EndpointJob } from "./job.ts";
import { RemoteJob, chunksOf, hold, submit, submitAndHold, type Codec } from "./jobs.ts";
import { Deadline } from "./pause.ts";
import type { SubmitOptions } from "./types.ts";

/** A route's function took longer than this, ms. Source: the seeds. */
export const ROUTE_TIMEOUT_MS = 30_000;
/** How long `.runsync()` is held, ms. Source: the job API. */
const HOLD_TIMEOUT_MS = LIMITS.waitDefaultMs;
/** A call is encoded for this many releases, one after the other. */
const MAX_ENCODINGS = 5;

/** What a call needs beyond its arguments. */
export interface RemoteCall {
  peer: Peer;
  args: readonly unknown[];
  options: SubmitOptions;
  /** `executionTimeoutMs` of the endpoint, when it has one. */
  executionTimeoutMs: number | undefined;
}

/** Calls a route and returns what its function returned. */
export async function callRoute(route: Route, call: RemoteCall): Promise<unknown> {
  return await forRelease(call.peer, () => callRouteOnce(route, call));
}

async function callRouteOnce(route: Route, call: RemoteCall): Promise<unknown> {
  const { peer, args, options } = call;
  const description = await describeEndpoint(peer, options.signal);
  const signature = routeOf(description, peer.name, route);
  const encoded = binderOf(signature).encode(args);
  const { path } = signature.route ?? route;
  const outgoing = {
    method: route.method,
    url: `${peer.routesUrl}${pathOf(path, encoded)}`,
    body: bodyOf(encoded),
    // A Response of the function's own may well be a redirection.
    redirect: "manual" as const,
    timeoutMs: timeoutOf(call, ROUTE_TIMEOUT_MS),
    signal: options.signal,
    headers: { ...options.headers, ...expecting(description.fingerprint) },
  };
  return exchange(peer, outgoing, async (response) => {
    const returned = response.headers.get(RESULT_HEADER);
    if (returned === "response") return response;
    await ensureOk(response, peer);
    if (response.status >= 300) throw redirected(peer, response);
    if (returned === "stream") return response.body;
    const answer = await readAnswer(response, peer);
    return isStream(answer) ? reviveAll(signature, answer) : revive(signature, answer);
  });
}

/** Somebody between here and the endpoint wants the call to go elsewhere. */
function redirected({ name }: Peer, { status, headers }: Response): FlashError {
  const target = headers.get("location") ?? "another address";
  return new FlashError(
    "REMOTE_ERROR",
    `HTTP error from endpoint ${name}: ${status} - redirected to ${target}`,
    { hint: "Set FLASH_URL to the server's own address." },
  );
}

/** Runs a job and waits for its result: the output, or all chunks of a stream. */
export async function callQueue(method: string | undefined, call: RemoteCall): Promise<unknown> {
  const { peer, options } = call;
  const deadline = new Deadline(timeoutOf(call, undefined));
  try {
    const { signature, document: first } = await encoded(method, call, (sent) =>
      submit(peer, "runsync", {
        ...sent,
        ...limits(deadline, options.signal),
        passDeadline: true,
        isAttached: true,
      }),
    );
    const last = await hold(peer, first, { deadline, signal: options.signal });
    if (last.status !== "COMPLETED") throw jobFailure(last);
    const { output } = codecOf(signature);
    if (!signature.streams || isFilled(last.output)) return output(last.output);
    return await collectChunks(
      signature,
      chunksOf(peer, last.id, { signal: options.signal, deadline }),
    );
  } catch (error) {
    // The steps share one limit, so the last one alone would name too short a time.
    const isOverdue = FlashError.is(error) && error.code === "CALL_TIMEOUT" && deadline.isOver;
    if (!isOverdue) throw error;
    throw timeoutError(peer.name, deadline.limitMs, "the job did not end within the time", error);
  }
}

function isFilled(output: unknown): boolean {
  return Array.isArray(output) && output.length > 0;
}

/** Long streams, and those of Runpod's own workers, leave the output empty: the chunks wait in the stream. */
async function collectChunks(
  signature: FunctionManifest,
  stream: AsyncIterable<unknown>,
): Promise<unknown[]> {
  const chunks: unknown[] = [];
  for await (const chunk of reviveAll(signature, stream)) chunks.push(chunk);
  return chunks;
}

/** Submits a job. With `runsync` the answer is held until it is over, by default for up to 90 s. */
export async function submitCall(
  operation: "run" | "runsync",
  method: string | undefined,
  call: RemoteCall,
): Promise<EndpointJob> {
  const { peer, options } = call;
  const timeoutMs = timeoutOf({ ...call, executionTimeoutMs: undefined }, HOLD_TIMEOUT_MS);
  const deadline = new Deadline(timeoutMs);
  const { signature, document } = await encoded(method, call, (encoded) => {
    const sent = { ...encoded, ...limits(deadline, options.signal) };
    return operation === "run"
      ? submit(peer, "run", { ...sent, isWaitedFor: false })
      : submitAndHold(peer, sent);
  });
  return new EndpointJob(new RemoteJob(peer, document.id, codecOf(signature)), document);
}

/** Submits a job and yields its chunks. */
export async function* streamCall(method: string | undefined, call: RemoteCall): AsyncGenerator {
  const { peer, options } = call;
  const { signal } = options;
  const { signature, document } = await encoded(method, call, (sent) =>
    submit(peer, "run", { ...sent, ...limits(new Deadline(options.timeoutMs), signal) }),
  );
  yield* reviveAll(signature, chunksOf(peer, document.id, { signal }));
}

/** A stream's `returns` is the type of one chunk. */
async function* reviveAll(
  signature: FunctionManifest,
  chunks: AsyncIterable<unknown> | Generator,
): AsyncGenerator {
  for await (const chunk of chunks) yield revive(signature, chunk);
}

function codecOf(signature: FunctionManifest): Codec {
  const chunk = (value: unknown): unknown => revive(signature, value);
  const isList = (value: unknown): value is unknown[] => signature.streams && Array.isArray(value);
  return {
    chunk,
    isStream: signature.streams,
    output: (value) => (isList(value) ? value.map(chunk) : chunk(value)),
  };
}

interface EncodedJob {
  body: unknown;
  headers: Readonly<Record<string, string>> | undefined;
}

/** Encodes a job for the release that is there, and submits it. */
async function encoded(
  method: string | undefined,
  call: RemoteCall,
  send: (sent: EncodedJob) => Promise<JobDocument>,
): Promise<{ signature: FunctionManifest; document: JobDocument }> {
  const { peer, options } = call;
  return await forRelease(peer, async () => {
    const { signature, body, version } = await encodeJob(method, call);
    const headers = { ...options.headers, ...expecting(version) };
    return { signature, document: await send({ body, headers }) };
  });
}

async function encodeJob(
  method: string | undefined,
  { peer, args, options }: RemoteCall,
): Promise<{ signature: FunctionManifest; body: unknown; version: string | undefined }> {
  const description = await describeEndpoint(peer, options.signal);
  const signature = functionOf(description, peer.name, method);
  const input = binderOf(signature).encodeInput(args);
  const isChoice = description.form === "class" && description.functions.length > 1;
  const full = isChoice ? { ...input, method } : input;
  // The platform drops an empty input on the way; the marker keeps it, and workers remove it.
  const sent = Object.keys(full).length === 0 ? { __empty: true } : full;
  return {
    signature,
    body: { input: sent, ...askedFor(options) },
    version: description.fingerprint,
  };
}

/** What a submission says beside its input. */
function askedFor({ webhook, policy }: SubmitOptions): Pick<SubmitOptions, "webhook" | "policy"> {
  return {
    ...(webhook === undefined ? {} : { webhook }),
    ...(policy === undefined ? {} : { policy }),
  };
}

/** Another version of the endpoint then refuses the call, having done nothing. */
function expecting(version: string | undefined): Record<string, string> {
  return version === undefined ? {} : { [EXPECTED_VERSION_HEADER]: version };
}

/**
 * Makes a call for the release that is there: when that is no longer the one that the call was encoded
 * for, it is encoded again. Releases may follow each other while this goes on, but not for ever.
 */
async function forRelease<T>(peer: Peer, call: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    try {
      return await forgetting(peer, call);
    } catch (error) {
      const isStale = FlashError.is(error) && error.code === "STALE_DESCRIPTION";
      if (!isStale || tries === MAX_ENCODINGS) throw error;
    }
  }
}

/** Runs `work`; when the answer suggests that the endpoint has changed, its description is asked for again. */
async function forgetting<T>(peer: Peer, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    const stale: ErrorCode[] = [
      "INVALID_INPUT",
      "NOT_ACCEPTED",
      "ROUTE_NOT_FOUND",
      "ENDPOINT_NOT_FOUND",
      "STALE_DESCRIPTION",
    ];
    if (FlashError.is(error) && stale.includes(error.code)) {
      forgetEndpoint(peer, { isOutgrown: error.code === "STALE_DESCRIPTION" });
    }
    throw error;
  }
}

/** Call, then FLASH_SENTINEL_TIMEOUT, then endpoint, then default. Source: spec/sdk.md 8.2. */
export function timeoutOf(
  { options, executionTimeoutMs }: RemoteCall,
  defaultMs: number | undefined,
): number | undefined {
  if (options.timeoutMs !== undefined) return options.timeoutMs;
  const seconds = Number(readVariable("FLASH_SENTINEL_TIMEOUT"));
  if (seconds > 0) return seconds * 1000;
  if (defaultMs === undefined) return undefined;
  return executionTimeoutMs ?? defaultMs;
}

function limits(
  deadline: Deadline,
  signal: AbortSignal | undefined,
): { timeoutMs?: number; signal?: AbortSignal } {
  const { remainingMs } = deadline;
  return {
    ...(remainingMs === Infinity ? {} : { timeoutMs: remainingMs }),
    ...(signal === undefined ? {} : { signal }),
  };
}

function pathOf(template: string, { path, query }: EncodedCall): string {
  const search = new URLSearchParams(query).toString();
  return `${fillPath(template, path)}${search === "" ? "" : `?${search}`}`;
}

function bodyOf({ body }: EncodedCall): string | FormData | undefined {
  if (body.kind === "none") return undefined;
  if (body.kind === "json") return JSON.stringify(body.value);
  const form = new FormData();
  for (const [name, value] of body.fields) {
    if (typeof value === "string") form.append(name, value);
    else form.append(name, value instanceof Blob ? value : new Blob([new Uint8Array(value)]));
  }
  return form;
}
