/**
 * The queue job API, for clients: one handler an operation. Statuses, holds and shapes are those that
 * unmodified Runpod clients rely on. Source: spec/job-api.md.
 *
 *   POST       run, runsync, cancel/{job}, retry/{job}, purge-queue
 *   PUT        run/{key}: run, at most once for this key
 *   GET, POST  status/{job}, status-sync/{job}, stream/{job}
 *   GET        health, metrics, requests
 *   batch…     batch-api
 *
 * submission reads what is submitted, job-events is the stream as server-sent events, rate-limits
 * counts requests. Success is always exactly 200; failures are problem documents with the platform's `error` in them.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { BatchStore } from "../../contract/batch.ts";
import { FlashError } from "../../contract/errors.ts";
import { jobDocument, jobDocumentText, type Job } from "../../contract/job.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { EndpointManifest } from "../../contract/manifest.ts";
import { isFinal, JOB_STATES, type JobState } from "../../contract/states.ts";
import { ORIGIN_HEADERS, type Origin } from "../../contract/origin.ts";
import type { EndpointRow } from "../../contract/store.ts";
import type { Batches } from "../jobs/batches.ts";
import type { Jobs } from "../jobs/jobs.ts";
import { handleBatchApi } from "./batch-api.ts";
import {
  clamped,
  clientSignal,
  pageOf,
  queryOf,
  readBody,
  sendJson,
  sendJsonText,
  sendProblem,
  type Principal,
} from "./http.ts";
import { sendJobEvents, wantsEvents } from "./job-events.ts";
import type { RateLimits } from "./rate-limits.ts";
import { askedOf, readSubmission, type Submission } from "./submission.ts";

/** Workers as clients count them. */
export type WorkerCounts = Record<
  "idle" | "initializing" | "ready" | "running" | "throttled" | "unhealthy",
  number
>;

/** A queue endpoint and the release that accepts its jobs. */
export interface ServedEndpoint {
  row: EndpointRow;
  releaseId: string;
  manifest: EndpointManifest;
  workerCounts(): WorkerCounts;
  readyWorkers(): string[];
}

export interface JobApiContext {
  jobs: Jobs;
  batches: Batches;
  batchStore: BatchStore;
  endpoint: ServedEndpoint;
  principal: Principal;
  /** Undefined: no limits. */
  limits?: RateLimits | undefined;
  /** Where the request comes from. */
  origin: () => Origin;
}

interface Call extends JobApiContext {
  /** The path segment after the operation. */
  id: string;
  query: URLSearchParams;
  request: IncomingMessage;
  response: ServerResponse;
}

interface Operation {
  methods: readonly string[];
  /** The path goes on with a job's id. */
  needsJob: boolean;
  handle(call: Call): Promise<void>;
}

const REQUESTS_DEFAULT = 50;
const REQUESTS_MAX = 1000;

const PUT_RUN: Operation = { methods: ["PUT"], needsJob: true, handle: run };

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
    const entry = name === "run" && id !== "" ? PUT_RUN : OPERATIONS.get(name);
    if (
      entry === undefined ||
      operation.length > (entry.needsJob ? 2 : 1) ||
      (entry.needsJob && id === "")
    ) {
      throw new FlashError("NOT_FOUND", `A queue endpoint has no '/${operation.join("/")}'.`, {
        hint: `It has ${[...OPERATIONS.keys(), "batch"].join(", ")}.`,
      });
    }
    if (!entry.methods.includes(request.method ?? "")) {
      response.setHeader("allow", entry.methods.join(", "));
      throw new FlashError(
        "METHOD_NOT_ALLOWED",
        `'/${name}' is asked with ${entry.methods.join(" or ")}, not with ${request.method}.`,
      );
    }
    const query = queryOf(request.url ?? "");
    enterLimits(context, name, response);
    await entry.handle({ ...context, id, query, request, response });
  } catch (error) {
    if (!FlashError.is(error)) throw error;
    sendProblem(response, error, { error: error.message });
  }
}

function enterLimits({ limits, endpoint }: JobApiContext, name: string, response: ServerResponse) {
  if (limits === undefined) return;
  const { running } = endpoint.workerCounts();
  response.once("close", limits.enter({ endpointId: endpoint.row.id, operation: name, running }));
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

async function run(call: Call): Promise<void> {
  const { target, body } = await submissionOf(call, "run");
  const job = await call.jobs.submit(target, body, "run");
  sendJsonText(call.response, 200, acceptedText(job));
}

async function runsync(call: Call): Promise<void> {
  const { jobs, response } = call;
  const { target, body } = await submissionOf(call, "runsync");
  const wait = {
    waitMs: waitOf(call.query),
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

async function submissionOf(call: Call, via: "run" | "runsync"): Promise<Submission> {
  const { endpoint, request, query, id } = call;
  const maxBytes = via === "run" ? LIMITS.runBodyBytes : LIMITS.runsyncBodyBytes;
  const text = (await readBody(request, maxBytes)).toString("utf8");
  const asked = askedOf(request.headers, query);
  const idempotencyKey = id === "" ? asked.idempotencyKey : id;
  const origin = call.origin();
  return readSubmission(endpoint, { ...asked, text, idempotencyKey, origin });
}

/** A job that only its caller has use for ends with the connection on which the caller waits. */
function attach({ jobs, request, response }: Call, id: string): void {
  if (request.headers[ORIGIN_HEADERS.attached] !== "1") return;
  const onClose = (): void => {
    if (!response.writableFinished) void jobs.cancel(id);
  };
  if (response.closed) onClose();
  else response.once("close", onClose);
}

// --- asking

async function status(call: Call): Promise<void> {
  sendJsonText(call.response, 200, jobDocumentText(await jobOf(call)));
}

async function statusSync(call: Call): Promise<void> {
  const { jobs, response } = call;
  const { id } = await jobOf(call);
  attach(call, id);
  const job = await jobs.waitFinal(id, waitOf(call.query), clientSignal(response));
  if (job === undefined) throw unknownJob(id);
  sendJsonText(response, 200, jobDocumentText(job));
}

async function stream(call: Call): Promise<void> {
  const { jobs, request, response, query } = call;
  const { id } = await jobOf(call);
  if (wantsEvents(request)) return await sendJobEvents(jobs, id, { request, response });
  const waitMs = clamped(query.get("wait"), 0, LIMITS.waitMaxMs) ?? LIMITS.streamHoldMs;
  const answer = await jobs.stream(id, { waitMs, signal: clientSignal(response) });
  if (answer === undefined) throw unknownJob(id);
  const chunks = answer.chunks.map((chunk) => `{"output":${chunk}}`).join(",");
  sendJsonText(response, 200, `{"status":"${answer.status}","stream":[${chunks}]}`);
}

async function health({ jobs, endpoint, response }: Call): Promise<void> {
  const counts = await jobs.counts(endpoint.row.id);
  sendJson(response, 200, { jobs: counts, workers: endpoint.workerCounts() });
}

async function metrics({ endpoint, response }: Call): Promise<void> {
  const readyWorkers = endpoint.readyWorkers();
  sendJson(response, 200, { readyWorkers, workers: endpoint.workerCounts() });
}

async function requests({ jobs, endpoint, query, response }: Call): Promise<void> {
  const page = pageOf(query, { limit: REQUESTS_DEFAULT, most: REQUESTS_MAX });
  const states = query.getAll("status").flatMap((text) => text.split(",")) as JobState[];
  if (!states.every((state) => JOB_STATES.includes(state))) {
    throw new FlashError("INVALID_REQUEST", `'status' must be one of ${JOB_STATES.join(", ")}.`);
  }
  const found = await jobs.list({
    endpointId: endpoint.row.id,
    ...(states.length === 0 ? {} : { states }),
    ...page,
  });
  sendJson(response, 200, {
    requests: found.jobs.map(jobDocument),
    total: found.total,
    ...page,
    hasMore: page.offset + found.jobs.length < found.total,
  });
}

// --- changing

async function cancel(call: Call): Promise<void> {
  const { id } = await jobOf(call);
  const job = await call.jobs.cancel(id);
  if (job === undefined) throw unknownJob(id);
  sendJson(call.response, 200, { id, status: job.state });
}

async function retry(call: Call): Promise<void> {
  const { id } = await jobOf(call);
  const result = await call.jobs.retry(id);
  if (result === undefined) throw unknownJob(id);
  if (!result.moved) {
    throw new FlashError(
      "INVALID_REQUEST",
      `The job '${id}' is ${result.job.state}: only FAILED and TIMED_OUT jobs can be retried.`,
    );
  }
  sendJson(call.response, 200, { id, status: result.job.state });
}

async function purge({ jobs, endpoint, response }: Call): Promise<void> {
  const removed = await jobs.purge(endpoint.row.id);
  sendJson(response, 200, { removed, status: "completed" });
}

// --- reading the request

/** A job of another endpoint does not exist here. */
export async function jobOf({
  jobs,
  endpoint,
  id,
}: {
  jobs: Jobs;
  endpoint: Pick<ServedEndpoint, "row">;
  id: string;
}): Promise<Job> {
  const job = await jobs.get(id);
  if (job === undefined || job.endpointId !== endpoint.row.id) throw unknownJob(id);
  return job;
}

function unknownJob(id: string): FlashError {
  return new FlashError("JOB_NOT_FOUND", `There is no job '${id}'.`, {
    hint: "Results are dropped when their retention is over.",
  });
}

/** How long the answer may wait for the job's end, ms. */
export function waitOf(query: URLSearchParams): number {
  return clamped(query.get("wait"), LIMITS.waitMinMs, LIMITS.waitMaxMs) ?? LIMITS.waitDefaultMs;
}
