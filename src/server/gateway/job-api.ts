/**
 * The queue job API, for clients: one handler an operation. Statuses, holds and shapes are those that
 * unmodified Runpod clients rely on. Source: spec/job-api.md.
 *
 *   POST       run, runsync, cancel/{job}, purge-queue
 *   PUT        run/{key}: run, at most once for this key
 *   GET, POST  status/{job}, status-sync/{job}, stream/{job}
 *   GET        health, metrics
 *   HEAD       whatever has a GET, without the body
 *   failed-api requests; retry/{job}, redrive, replay/{job}
 *   openai/…   openai-api
 *   batch…     batch-api
 *
 * job-call is what a handler gets; prefer reads how long a client waits, submission what is submitted; job-events is the stream as
 * server-sent events, rate-limits counts requests. Success is always exactly 200; failures are problem documents with the platform's `error` in them.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { FlashError } from "../../contract/errors.ts";
import { jobDocumentText, type Job } from "../../contract/job.ts";
import { LIMITS } from "../../contract/limits.ts";
import { isFinal } from "../../contract/states.ts";
import { ORIGIN_HEADERS } from "../../contract/origin.ts";
import { handleBatchApi } from "./batch-api.ts";
import {
  allowed,
  clamped,
  clientSignal,
  methodOf,
  platformMember,
  queryOf,
  readText,
  sendJson,
  sendJsonText,
  sendProblem,
} from "./http.ts";
import { endSignal, onClientEnd } from "./ended-side.ts";
import type { JobApiContext, JobCall } from "./job-call.ts";
import { jobOf, locationOf, unknownJob } from "./job-of.ts";
import { redrive, replay, requests, retry } from "./failed-api.ts";
import { handleOpenAi } from "./openai-api.ts";
import { sendJobEvents, wantsEvents } from "./job-events.ts";
import { preferenceOf } from "./prefer.ts";
import { askedOf, readSubmission, type Submission } from "./submission.ts";

interface Operation {
  methods: readonly string[];
  /** The path goes on with a job's id. */
  needsJob: boolean;
  handle(call: JobCall): Promise<void>;
}

const PUT_RUN: Operation = { methods: ["PUT"], needsJob: true, handle: run };

/** Operations that put a job into the queue. */
const SUBMITTING = new Set(["run", "runsync", "openai"]);

const GET = ["GET"];
const POST = ["POST"];
const EITHER = ["GET", "POST"];

const OPERATIONS: ReadonlyMap<string, Operation> = new Map([
  ["run", { methods: POST, needsJob: false, handle: run }],
  ["runsync", { methods: POST, needsJob: false, handle: runsync }],
  ["status", { methods: EITHER, needsJob: true, handle: status }],
  ["status-sync", { methods: EITHER, needsJob: true, handle: statusSync }],
  ["stream", { methods: EITHER, needsJob: true, handle: stream }],
  ["cancel", { methods: POST, needsJob: true, handle: cancel }],
  ["retry", { methods: POST, needsJob: true, handle: retry }],
  ["replay", { methods: POST, needsJob: true, handle: replay }],
  ["redrive", { methods: POST, needsJob: false, handle: redrive }],
  ["purge-queue", { methods: POST, needsJob: false, handle: purge }],
  ["health", { methods: GET, needsJob: false, handle: health }],
  ["metrics", { methods: GET, needsJob: false, handle: metrics }],
  ["requests", { methods: GET, needsJob: false, handle: requests }],
]);

/**
 * Answers one request to `/v2/{endpoint}/{operation…}`. Failures of ours are answered here; anything
 * else is thrown.
 */
export async function handleJobApi(
  context: JobApiContext,
  operation: string[],
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  try {
    const [name = "", id = ""] = operation;
    if (name === "batch") return await batch(context, operation.slice(1), { request, response });
    if (name === "openai") return await openAi(context, operation.slice(1), { request, response });
    const entry = name === "run" && id !== "" ? PUT_RUN : OPERATIONS.get(name);
    if (
      entry === undefined ||
      operation.length > (entry.needsJob ? 2 : 1) ||
      (entry.needsJob && id === "")
    ) {
      throw new FlashError("NOT_FOUND", `A queue endpoint has no '/${operation.join("/")}'.`, {
        hint: `It has ${[...OPERATIONS.keys(), "openai", "batch"].join(", ")}.`,
      });
    }
    if (!entry.methods.includes(methodOf(request))) {
      response.setHeader("allow", allowed(entry.methods));
      throw new FlashError(
        "METHOD_NOT_ALLOWED",
        `'/${name}' is asked with ${entry.methods.join(" or ")}, not with ${request.method}.`,
      );
    }
    const query = queryOf(request.url ?? "");
    await enterLimits(context, name, response);
    await entry.handle({ ...context, id, query, request, response });
  } catch (error) {
    if (!FlashError.is(error)) throw error;
    sendProblem(response, error, platformMember(error));
  }
}

async function enterLimits(
  { jobs, limits, endpoint }: JobApiContext,
  name: string,
  response: ServerResponse,
): Promise<void> {
  if (limits === undefined) return;
  const { running } = endpoint.workerCounts();
  const leave = limits.enter({ endpointId: endpoint.row.id, operation: name, running });
  if (response.closed) leave();
  else response.once("close", leave);
  // Who may have gone takes nobody's place.
  onClientEnd(response, leave);
  if (!SUBMITTING.has(name)) return;
  const { inQueue } = await jobs.counts(endpoint.row.id);
  limits.checkQueue(inQueue, endpoint.manifest.options.workersMax);
}

async function openAi(
  context: JobApiContext,
  path: readonly string[],
  { request, response }: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  const { method } = request;
  // No HEAD: what GET answers here is a job's result.
  if (method !== "GET" && method !== "POST") {
    response.setHeader("allow", "GET, POST");
    const message = `'/openai' is asked with GET or POST, not with ${method}.`;
    throw new FlashError("METHOD_NOT_ALLOWED", message);
  }
  if (path.length === 0) {
    throw new FlashError("NOT_FOUND", "A request of an OpenAI client has a path.", {
      hint: "Set the client's base URL to {server}/v2/{endpoint}/openai/v1.",
    });
  }
  await enterLimits(context, "openai", response);
  const query = queryOf(request.url ?? "");
  await handleOpenAi({ ...context, id: "", query, request, response }, path);
}

async function batch(
  { batches, batchStore: store, endpoint }: JobApiContext,
  path: readonly string[],
  exchange: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  const { row, manifest } = endpoint;
  await handleBatchApi({ batches, store, endpointId: row.id, manifest }, path, exchange);
}

// --- submitting

async function run(call: JobCall): Promise<void> {
  const { target, body } = await submissionOf(call, "run");
  const job = await call.jobs.submit(target, body, "run");
  const isOurs = call.id !== "";
  sendJsonText(call.response, 200, acceptedText(job), isOurs ? locationOf(call, job) : {});
}

async function runsync(call: JobCall): Promise<void> {
  const { jobs, request, response, query } = call;
  const { target, body } = await submissionOf(call, "runsync");
  const { isAsync, waitMs } = preferenceOf(request.headers.prefer);
  if (isAsync && waitMs === undefined) {
    const job = await jobs.submit(target, body, "runsync");
    response.setHeader("preference-applied", "respond-async");
    sendJsonText(response, 200, submittedText(job), locationOf(call, job));
    return;
  }
  const wait = {
    waitMs: waitOf(query, waitMs),
    signal: () => clientSignal(response),
    onAccepted: (id: string) => attach(call, id),
  };
  const job = await jobs.submitAndWait(target, body, wait);
  sendJsonText(response, 200, submittedText(job));
}

/** What `/run` answers. */
export function acceptedText({ id, state }: Job): string {
  return JSON.stringify({ id, status: state });
}

/** What `/runsync` answers. */
export function submittedText(job: Job): string {
  return isFinal(job.state) ? jobDocumentText(job) : acceptedText(job);
}

async function submissionOf(call: JobCall, via: "run" | "runsync"): Promise<Submission> {
  const { endpoint, request, query, id } = call;
  const maxBytes = via === "run" ? LIMITS.runBodyBytes : LIMITS.runsyncBodyBytes;
  const text = await readText(request, maxBytes);
  const asked = askedOf(request.headers, query);
  const idempotencyKey = id === "" ? asked.idempotencyKey : id;
  const origin = call.origin();
  return readSubmission(endpoint, { ...asked, text, idempotencyKey, origin });
}

/** A job that only its caller has use for ends with the connection on which the caller waits. */
function attach({ jobs, request, response }: JobCall, id: string): void {
  if (request.headers[ORIGIN_HEADERS.attached] !== "1") return;
  const onClose = (): void => {
    if (!response.writableFinished) void jobs.cancel(id);
  };
  if (response.closed) onClose();
  else response.once("close", onClose);
  onClientEnd(response, onClose);
}

// --- asking

async function status(call: JobCall): Promise<void> {
  sendJsonText(call.response, 200, jobDocumentText(await jobOf(call)));
}

async function statusSync(call: JobCall): Promise<void> {
  const { jobs, request, response, query } = call;
  const { id } = await jobOf(call);
  attach(call, id);
  const { waitMs } = preferenceOf(request.headers.prefer);
  const job = await jobs.waitFinal(id, waitOf(query, waitMs), clientSignal(response));
  if (job === undefined) throw unknownJob(id);
  sendJsonText(response, 200, jobDocumentText(job));
}

async function stream(call: JobCall): Promise<void> {
  const { jobs, request, response, query } = call;
  const { id } = await jobOf(call);
  // What is given once must not go to somebody who does not look at it.
  if (request.method === "HEAD") {
    const type = wantsEvents(request) ? "text/event-stream" : "application/json";
    response.writeHead(200, { "content-type": type }).end();
    return;
  }
  if (wantsEvents(request)) return await sendJobEvents(jobs, id, { request, response });
  const waitMs = clamped(query.get("wait"), 0, LIMITS.waitMaxMs) ?? LIMITS.streamHoldMs;
  const answer = await jobs.stream(id, { waitMs, signal: endSignal(response) });
  if (answer === undefined) throw unknownJob(id);
  const chunks = answer.chunks.map((chunk) => `{"output":${chunk}}`).join(",");
  sendJsonText(response, 200, `{"status":"${answer.status}","stream":[${chunks}]}`);
}

async function health({ jobs, endpoint, response }: JobCall): Promise<void> {
  const counts = await jobs.counts(endpoint.row.id);
  const flash = { durability: jobs.durability };
  sendJson(response, 200, { jobs: counts, workers: endpoint.workerCounts(), flash });
}

async function metrics({ endpoint, response }: JobCall): Promise<void> {
  const readyWorkers = endpoint.readyWorkers();
  sendJson(response, 200, { readyWorkers, workers: endpoint.workerCounts() });
}

// --- changing

async function cancel(call: JobCall): Promise<void> {
  const { id } = await jobOf(call);
  const job = await call.jobs.cancel(id);
  if (job === undefined) throw unknownJob(id);
  sendJson(call.response, 200, { id, status: job.state });
}

async function purge({ jobs, endpoint, response }: JobCall): Promise<void> {
  const removed = await jobs.purge(endpoint.row.id);
  sendJson(response, 200, { removed, status: "completed" });
}

// --- reading the request

/** How long the answer may wait for the job's end, ms; `preferred`: when the query does not say. */
export function waitOf(query: URLSearchParams, preferred?: number): number {
  const { waitMinMs, waitMaxMs, waitDefaultMs } = LIMITS;
  const asked = clamped(query.get("wait"), waitMinMs, waitMaxMs);
  if (asked !== undefined || preferred === undefined) return asked ?? waitDefaultMs;
  return Math.min(waitMaxMs, Math.max(waitMinMs, preferred));
}
