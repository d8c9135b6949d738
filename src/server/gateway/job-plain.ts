/**
 * Plain requests of queue endpoints, at the edge: submitting a job and asking for one, as job-api does
 * it. What would be refused before anything has happened is left to job-api, and so is everything else.
 */

import { jobRouteOf, type ApiRoute } from "../../contract/api-routes.ts";
import { FlashError } from "../../contract/errors.ts";
import { jobDocumentText } from "../../contract/job.ts";
import { ORIGIN_HEADERS, type Origin } from "../../contract/origin.ts";
import { REQUEST_ID_HEADER } from "../../contract/worker-env.ts";
import { givenRequestId } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import { jsonHead, okJsonHead, withHeader, type AnswerHead } from "../edge/answer.ts";
import type { PlainExchange } from "../edge/exchange.ts";
import type { PlainHead } from "../edge/head.ts";
import type { Jobs } from "../jobs/jobs.ts";
import { platformMember, problemAnswer, queryOf, textOf } from "./http.ts";
import { acceptedText, submittedText, waitOf } from "./job-api.ts";
import type { ServedEndpoint } from "./job-call.ts";
import { jobOf } from "./job-of.ts";
import { originOf } from "./origin.ts";
import { askedOf, readSubmission, type Asked, type Submission } from "./submission.ts";
import type { Target } from "./target.ts";

/** What follows from a request's head. */
export interface JobPlan {
  readonly kind: "job";
  /** Of the endpoint, as in the path. */
  readonly id: string;
  readonly operation: "run" | "runsync" | "status";
  /** Of `status`. */
  readonly jobId: string;
  readonly route: ApiRoute;
  readonly waitMs: number;
  readonly asked: Asked;
  readonly origin: Origin;
  /** What the client calls the request. */
  readonly requestId: string | undefined;
}

export interface PlainJobRequest {
  plan: JobPlan;
  exchange: PlainExchange;
  endpoint: Pick<ServedEndpoint, "row" | "releaseId" | "manifest">;
  jobs: Jobs;
  log: Log;
}

/** Undefined: the request is for job-api. */
export function planJob(head: PlainHead, target: Target & { kind: "v2" }): JobPlan | undefined {
  const [operation = "", jobId = ""] = target.operation;
  const isStatus = operation === "status";
  if (!isStatus && operation !== "run" && operation !== "runsync") return undefined;
  // Not what the path would be without its last slash.
  if (target.operation.length !== (isStatus ? 2 : 1) || (isStatus && jobId === ""))
    return undefined;
  const route = jobRouteOf(operation, head.method);
  // Waits as job-api reads it.
  if (head.headers["prefer"] !== undefined) return undefined;
  // Is refused.
  if (head.headers["content-encoding"] !== undefined) return undefined;
  // Such a job ends with the connection.
  if (head.headers[ORIGIN_HEADERS.attached] !== undefined) return undefined;
  if (route === undefined || !route.methods.includes(head.method)) return undefined;
  const query = queryOf(head.target);
  return {
    kind: "job",
    id: target.id,
    operation,
    jobId,
    route,
    waitMs: waitOf(query),
    asked: askedOf(head.headers, query),
    origin: originOf(head, undefined),
    requestId: givenRequestId(head.headers[REQUEST_ID_HEADER]),
  };
}

/** Answers, later. False: job-api has to, and nothing has happened yet. */
export function servePlainJob(request: PlainJobRequest): boolean {
  const { plan, exchange, endpoint } = request;
  let answer: Promise<string>;
  if (plan.operation === "status") answer = statusText(request);
  else {
    let submission: Submission;
    try {
      const text = textOf(exchange.body);
      submission = readSubmission(endpoint, { ...plan.asked, text, origin: plan.origin });
    } catch {
      return false;
    }
    answer = submittedAs(request, submission);
  }
  answer.then(
    (text) => exchange.answer(named(okJsonHead(text), plan), text),
    (error: unknown) => refuse(request, error),
  );
  return true;
}

async function statusText({ plan, endpoint, jobs }: PlainJobRequest): Promise<string> {
  return jobDocumentText(await jobOf({ jobs, endpoint, id: plan.jobId }));
}

function submittedAs(
  { plan, exchange, jobs }: PlainJobRequest,
  { target, body }: Submission,
): Promise<string> {
  if (plan.operation === "run") return jobs.submit(target, body, "run").then(acceptedText);
  const wait = { waitMs: plan.waitMs, signal: () => goneSignal(exchange) };
  return jobs.submitAndWait(target, body, wait).then(submittedText);
}

function goneSignal(exchange: PlainExchange): AbortSignal {
  const gone = new AbortController();
  if (exchange.isGone) gone.abort();
  else exchange.onGone = () => gone.abort();
  return gone.signal;
}

function named(head: AnswerHead, { requestId }: JobPlan): AnswerHead {
  return withHeader(head, REQUEST_ID_HEADER, requestId);
}

function refuse({ plan, exchange, log }: PlainJobRequest, error: unknown): void {
  if (!FlashError.is(error)) {
    log.error("a request failed inside the server", {
      method: exchange.head.method,
      error: error instanceof Error ? (error.stack ?? error.message) : String(error),
    });
  }
  const { status, text, headers } = problemAnswer(error, platformMember(error));
  exchange.answer(named(jsonHead(status, Buffer.byteLength(text), headers), plan), text);
}
