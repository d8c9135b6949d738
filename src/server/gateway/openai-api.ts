/**
 * `/openai/v1/…` of a queue endpoint: requests of OpenAI's clients as jobs. The worker gets the path and
 * the body, as those of the platform do, and its output is the answer as it stands. With `"stream": true`
 * the values of its generator are written as they come. Source: spec/job-api.md 5.10.
 *
 * The job is its caller's alone: it ends with the connection.
 */

import { once } from "node:events";
import type { ServerResponse } from "node:http";
import { FlashError } from "../../contract/errors.ts";
import { isPlainJsonObject, parseOrUndefined } from "../../contract/json.ts";
import type { Job } from "../../contract/job.ts";
import { LIMITS } from "../../contract/limits.ts";
import { isFinal } from "../../contract/states.ts";
import type { Jobs } from "../jobs/jobs.ts";
import { callerOf, endWithClient, onClientEnd } from "./ended-side.ts";
import { clientSignal, readText, sendJson, sendJsonText } from "./http.ts";
import type { JobCall } from "./job-call.ts";
import { elementTexts } from "./raw-json.ts";
import { askedOf, parseJson, readSubmission } from "./submission.ts";

/** Tells which job a request was. */
const JOB_HEADER = "x-flash-job";
/** Silence after which a stream says that it is there, ms. */
const KEEP_ALIVE_MS = 15_000;

/** `path`: the segments after `openai`. */
export async function handleOpenAi(call: JobCall, path: readonly string[]): Promise<void> {
  const { endpoint, jobs, request, response, query } = call;
  const body = await readText(request, LIMITS.runsyncBodyBytes);
  const asked = body.trim() === "" ? {} : parseJson(body, "Send a JSON object, or nothing.");
  const route = JSON.stringify(`/${path.join("/")}`);
  const { target, body: submitted } = readSubmission(endpoint, {
    ...askedOf(request.headers, query),
    text: `{"input":{"openai_route":${route},"openai_input":${body.trim() === "" ? "{}" : body}}}`,
    origin: call.origin(),
  });
  const { id } = await jobs.submit(target, submitted, "runsync");
  response.setHeader(JOB_HEADER, id);
  cancelWithCaller(jobs, id, response);
  onClientEnd(response, () => endWithClient(callerOf(response)));
  const isStream = isPlainJsonObject(asked) && asked["stream"] === true;
  await (isStream ? streamJob(jobs, id, response) : answerJob(jobs, id, response));
}

function cancelWithCaller(jobs: Jobs, id: string, response: ServerResponse): void {
  const onClose = (): void => {
    if (!response.writableFinished) void jobs.cancel(id);
  };
  if (response.closed) onClose();
  else response.once("close", onClose);
}

async function answerJob(jobs: Jobs, id: string, response: ServerResponse): Promise<void> {
  const signal = clientSignal(response);
  for (;;) {
    const job = await jobs.waitFinal(id, LIMITS.waitMaxMs, signal);
    if (signal.aborted) return;
    if (job === undefined || jobs.isClosed) throw lost(id);
    if (!isFinal(job.state)) continue;
    if (job.state === "COMPLETED") sendJsonText(response, 200, answerOf(job));
    else sendFailure(response, job);
    return;
  }
}

/** A generator's values are a list; the only one of a request that was not to be streamed is its answer. */
function answerOf({ output }: Job): string {
  const value = parseOrUndefined(output ?? "null");
  const [only] = Array.isArray(value) && value.length === 1 ? elementTexts(output ?? "") : [];
  return only ?? output ?? "null";
}

async function streamJob(jobs: Jobs, id: string, response: ServerResponse): Promise<void> {
  const signal = clientSignal(response);
  const out = new Stream(response);
  let place = { attempt: 0, position: 0 };
  while (!signal.aborted) {
    const read = await jobs.read(id, place, { waitMs: KEEP_ALIVE_MS, signal });
    if (read === undefined) return out.end({ message: lost(id).message });
    const { job, chunks } = read;
    if (out.hasBegun && place.attempt !== job.attempt) {
      // What was sent cannot be taken back, and another attempt begins anew.
      return out.end({ message: `The attempt of job ${id} was lost in the middle of its stream.` });
    }
    for (const { position, chunk } of chunks) {
      place = { attempt: job.attempt, position };
      await out.write(chunk);
    }
    if (chunks.length > 0) continue;
    if (!isFinal(job.state)) await out.keepAlive();
    else if (job.state === "COMPLETED") return out.end();
    else if (out.hasBegun) return out.end(failureOf(job));
    else return sendFailure(response, job);
  }
}

/** The answer of a streamed request: the worker's own events, or ones made of its values. */
class Stream {
  readonly #response: ServerResponse;
  #hasBegun = false;
  #isPlain = false;

  constructor(response: ServerResponse) {
    this.#response = response;
  }

  get hasBegun(): boolean {
    return this.#hasBegun;
  }

  /** `chunk`: JSON text. A text is sent as it is: workers such as vLLM's write whole events. */
  async write(chunk: string): Promise<void> {
    const value = parseOrUndefined(chunk);
    this.#isPlain ||= typeof value !== "string";
    await this.#send(typeof value === "string" ? value : `data: ${chunk}\n\n`);
  }

  async keepAlive(): Promise<void> {
    // Before the first value the answer may still become an error.
    if (this.#hasBegun) await this.#send(":\n\n");
  }

  end(error?: Record<string, unknown>): void {
    if (error !== undefined) void this.#send(`data: ${JSON.stringify({ error })}\n\n`);
    else if (this.#isPlain || !this.#hasBegun) void this.#send("data: [DONE]\n\n");
    this.#response.end();
  }

  async #send(text: string): Promise<void> {
    const response = this.#response;
    if (!this.#hasBegun) {
      this.#hasBegun = true;
      response.writeHead(200, {
        "content-type": "text/event-stream",
        "cache-control": "no-store",
        // Understood by nginx: events must not wait in a buffer.
        "x-accel-buffering": "no",
      });
    }
    if (response.destroyed || response.write(text)) return;
    await Promise.race([once(response, "drain"), once(response, "close")]);
  }
}

/** In the form that OpenAI's clients read. */
function sendFailure(response: ServerResponse, job: Job): void {
  const error = failureOf(job);
  const { code } = error;
  const isStatus = typeof code === "number" && code >= 400 && code <= 599;
  sendJson(response, isStatus ? code : 500, { error });
}

/** Workers such as vLLM's report errors in OpenAI's own form. */
function failureOf({ error, state }: Job): Record<string, unknown> {
  const report = parseOrUndefined(error ?? "");
  const inner = isPlainJsonObject(report) ? (report["error"] ?? report) : undefined;
  if (isPlainJsonObject(inner) && typeof inner["message"] === "string") return inner;
  const told = isPlainJsonObject(report) ? report["error_message"] : undefined;
  const message = typeof told === "string" ? told : (error ?? `The job is ${state}.`);
  return { message, type: "server_error", param: null, code: null };
}

function lost(id: string): FlashError {
  return new FlashError(
    "UNAVAILABLE",
    `The job ${id} of this request cannot be followed any more.`,
    {
      hint: "Send the request again.",
    },
  );
}
