/**
 * The worker protocol, server side: what an unmodified queue worker of the platform speaks, and ours
 * too. Source: spec/worker-protocol.md.
 *
 *   GET   job-take/{worker}, job-take-batch/{worker}   held until there is a job
 *   GET   job-stop/{worker}                            held until there is a job to stop
 *   POST  job-done/{worker}/{job}                      result, error or progress
 *   POST  job-stream/{worker}/{job}                    one value of a generator
 *   GET   ping/{worker}                                sign of life
 *
 * Traps that shape this file: workers append `&name=value` to a URL without `?`; they label raw JSON
 * as a form; they drop a result for good on any 4xx and poll again at once after any answer without a
 * job. So everything that is understood is answered 200, and polls are held.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { WORKER_ROUTES } from "../../contract/api-routes.ts";
import { FlashError } from "../../contract/errors.ts";
import { isPlainJsonObject } from "../../contract/json.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { TakenJob } from "../../contract/store.ts";
import { ATTEMPT_HEADER, CHUNK_HEADER } from "../../contract/worker-env.ts";
import { utf8Text } from "../../kit/utf8.ts";
import type { DoneBody, Jobs } from "../jobs/jobs.ts";
import { endSignal } from "./ended-side.ts";
import { platformMember, sendJson, sendJsonText, sendProblem } from "./http.ts";
import { memberTexts } from "./raw-json.ts";

export interface WorkerApiContext {
  jobs: Jobs;
  endpointId: string;
  /** The worker's release: it gets no job of another one. */
  releaseId: string | undefined;
  /** Who the secret belongs to; that, not the path, says who is speaking. */
  worker: { id: string; secretOk: boolean };
  onSeen(workerId: string): void;
  /** A fitness check failed; the worker is about to exit. */
  onUnhealthy?(workerId: string, report: { check: string; reason: string }): void;
}

interface Call {
  context: WorkerApiContext;
  jobId: string;
  query: URLSearchParams;
  request: IncomingMessage;
  response: ServerResponse;
}

/** Room for the envelope around an output of the largest size. */
const MAX_POST_BYTES = LIMITS.runsyncBodyBytes + 1024 * 1024;
/** A post that goes on after this is not read to its end. */
const HOPELESS_BYTES = 10 * MAX_POST_BYTES;
const MAX_BATCH = 1000;

const OPERATIONS: ReadonlyMap<string, (call: Call) => Promise<void>> = new Map([
  ["job-take", (call: Call) => take(call, 1)],
  ["job-take-batch", takeBatch],
  ["job-stop", stop],
  ["job-done", done],
  ["job-stream", streamChunk],
  ["ping", ping],
]);

/** Answers one request of a worker. Failures of ours are answered here; anything else is thrown. */
export async function handleWorkerApi(
  context: WorkerApiContext,
  operation: string[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const { segments, query } = unglue(operation, request.url ?? "");
    const [name = "", , jobId = ""] = segments;
    const handle = OPERATIONS.get(name);
    if (!context.worker.secretOk) {
      throw new FlashError("UNAUTHORIZED", "The key is not that of a running worker.");
    }
    if (handle === undefined) {
      throw new FlashError("NOT_FOUND", `The worker protocol has no '${name}'.`);
    }
    requireMethod(name, request, response);
    await handle({ context, jobId, query, request, response });
  } catch (error) {
    if (!FlashError.is(error)) throw error;
    sendProblem(response, error, platformMember(error));
  }
}

/** Else a job would go to somebody who only asks for a head, and a post without a body end one. */
function requireMethod(
  name: string,
  { method = "" }: IncomingMessage,
  response: ServerResponse,
): void {
  const { methods } = WORKER_ROUTES[name as keyof typeof WORKER_ROUTES];
  if (methods.includes(method)) return;
  response.setHeader("allow", methods.join(", "));
  const message = `'/${name}' is asked with ${methods.join(" or ")}, not with ${method}.`;
  throw new FlashError("METHOD_NOT_ALLOWED", message);
}

// --- taking

async function takeBatch(call: Call): Promise<void> {
  const asked = Math.floor(Number(call.query.get("batch_size")));
  await take(call, Math.min(MAX_BATCH, asked >= 1 ? asked : 1), true);
}

async function take(call: Call, limit: number, isBatch = false): Promise<void> {
  const { context, response } = call;
  const { jobs, endpointId, releaseId, worker } = context;
  context.onSeen(worker.id);
  const taken = await jobs.take({
    endpointId,
    ...(releaseId === undefined ? {} : { releaseId }),
    workerId: worker.id,
    limit,
    holdMs: LIMITS.pollHoldMs,
    signal: endSignal(response),
  });
  if (taken.length === 0) {
    response.writeHead(204).end();
    return;
  }
  const texts = taken.map(messageText);
  const isDelivered = await deliver(response, isBatch ? `[${texts.join(",")}]` : (texts[0] ?? ""));
  if (!isDelivered) await jobs.putBack(taken);
}

/** What a worker gets. `input` is always there: a worker drops a message without it. */
export function messageText(job: TakenJob): string {
  const own = JSON.stringify({
    id: job.id,
    attempt: job.attempt,
    // Where the caller's time ends first, so does the function's.
    executionTimeout: Math.min(
      job.policy.executionTimeoutMs,
      Math.max(1, job.expiresAt - (job.startedAt ?? 0)),
    ),
  });
  const extra = job.extra === null ? "" : `${job.extra.slice(1, -1)},`;
  return `{${extra}${own.slice(1, -1)},"input":${job.input}}`;
}

/** False when the client was gone before the answer had been handed to the operating system. */
function deliver(response: ServerResponse, text: string): Promise<boolean> {
  const { promise, resolve } = Promise.withResolvers<boolean>();
  if (response.destroyed) return Promise.resolve(false);
  response.once("finish", () => resolve(true));
  response.once("close", () => resolve(response.writableFinished));
  sendJsonText(response, 200, text);
  return promise;
}

async function stop({ context, response }: Call): Promise<void> {
  const { jobs, worker } = context;
  const ids = await jobs.stopsFor(worker.id, LIMITS.pollHoldMs, endSignal(response));
  if (ids.length === 0) response.writeHead(204).end();
  else sendJson(response, 200, { jobsToStop: ids });
}

// --- posting

async function done(call: Call): Promise<void> {
  const { context, jobId, request, response } = call;
  const post = await readPost(request);
  await context.jobs.done({ ...wordOf(call), jobId, body: bodyOf(post) });
  sendJson(response, 200, {});
}

async function streamChunk(call: Call): Promise<void> {
  const { context, jobId, request, response } = call;
  const post = await readPost(request);
  const word = { ...wordOf(call), jobId };
  if (post.kind !== "object") await context.jobs.done({ ...word, body: bodyOf(post) });
  else {
    const { output, outputText } = bodyOf(post);
    const number = countOf(request.headers[CHUNK_HEADER]);
    if (outputText !== undefined) await context.jobs.chunk({ ...word, number, output, outputText });
  }
  sendJson(response, 200, {});
}

function wordOf({ context, request }: Call): { workerId: string; attempt?: number } {
  const attempt = countOf(request.headers[ATTEMPT_HEADER]);
  return {
    workerId: context.worker.id,
    // Workers that do not know about attempts are held to the one they have.
    ...(attempt === undefined ? {} : { attempt }),
  };
}

function countOf(header: string | string[] | undefined): number | undefined {
  const count = Number(header);
  return Number.isSafeInteger(count) && count > 0 ? count : undefined;
}

type Post =
  | { kind: "object"; value: Record<string, unknown>; text: string }
  | { kind: "unreadable"; reason: string };

/** Reads a post as JSON whatever it calls itself, and to its end whatever its size. */
async function readPost(request: IncomingMessage): Promise<Post> {
  const parts: Buffer[] = [];
  let bytes = 0;
  try {
    const body: AsyncIterable<Buffer> = request.iterator({ destroyOnReturn: false });
    for await (const part of body) {
      bytes += part.length;
      if (bytes <= MAX_POST_BYTES) parts.push(part);
      else parts.length = 0;
      if (bytes > HOPELESS_BYTES) break;
    }
  } catch (cause) {
    throw new FlashError("INVALID_REQUEST", "The post ended before its body was complete.", {
      cause,
    });
  }
  if (bytes > MAX_POST_BYTES) {
    return { kind: "unreadable", reason: `it is larger than ${LIMITS.runsyncBodyBytes} bytes` };
  }
  const text = utf8Text(Buffer.concat(parts, bytes));
  if (text === undefined) return { kind: "unreadable", reason: "it is not UTF-8" };
  try {
    const value: unknown = JSON.parse(text);
    if (isPlainJsonObject(value)) return { kind: "object", value, text };
    return { kind: "unreadable", reason: "it is not a JSON object" };
  } catch (cause) {
    const hint = /\b(NaN|Infinity)\b/.test(text) ? "; NaN and Infinity are not JSON" : "";
    return { kind: "unreadable", reason: `it is not JSON: ${(cause as Error).message}${hint}` };
  }
}

function bodyOf(post: Post): DoneBody {
  if (post.kind === "unreadable") {
    const error = `the worker's result cannot be read: ${post.reason}`;
    return { error, retryable: false, failure: "bad-result" };
  }
  const texts = memberTexts(post.text);
  const outputText = texts.get("output");
  const errorText = texts.get("error");
  return {
    ...post.value,
    ...(outputText === undefined ? {} : { outputText }),
    ...(errorText === undefined ? {} : { errorText }),
  };
}

async function ping({ context, query, response }: Call): Promise<void> {
  const { jobs, worker, endpointId } = context;
  context.onSeen(worker.id);
  if (query.get("status") === "unhealthy") {
    const report = { check: query.get("check") ?? "", reason: query.get("reason") ?? "" };
    context.onUnhealthy?.(worker.id, report);
  }
  if (listsAllJobs(query.get("runpod_version"))) jobs.listsAll(worker.id);
  const peakBytes = Number(query.get("peak_memory"));
  if (peakBytes > 0) jobs.notePeakMemory(worker.id, peakBytes);
  const listed = query.get("job_id")?.split(",").filter(Boolean);
  await jobs.ping(worker.id, endpointId, listed);
  sendJson(response, 200, {});
}

/** SDK 1.7.1 pings without job ids. */
function listsAllJobs(sdkVersion: string | null): boolean {
  const [major = 0, minor = 0, patch = 0] = (sdkVersion ?? "").split(".").map(Number);
  return major > 1 || (major === 1 && (minor > 7 || (minor === 7 && patch >= 2)));
}

/**
 * Path segments and parameters. Without a `?` in its template a worker's parameters end up in the last
 * path segment, behind an `&`.
 */
function unglue(
  operation: readonly string[],
  url: string,
): { segments: string[]; query: URLSearchParams } {
  const cut = url.indexOf("?");
  const query = new URLSearchParams(cut === -1 ? "" : url.slice(cut + 1));
  const segments = operation.map((segment) => {
    const [own = "", ...glued] = segment.split("&");
    for (const [name, value] of new URLSearchParams(glued.join("&"))) query.append(name, value);
    return own;
  });
  return { segments, query };
}
