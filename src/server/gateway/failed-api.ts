/**
 * Jobs that ended otherwise than hoped, and how they run again: finding them by cause, sending them
 * back, and running an input anew.
 *
 *   GET   requests?status=&kind=&key=   jobs, newest first; by cause and key those that failed for good
 *   POST  retry/{job}                   a failed job, on the release that accepted it
 *   POST  redrive                       many of them
 *   POST  replay/{job}                  the input of any job, as a new job of the present release
 *
 * A failed job is kept longer than its result. The platform's own operations see it only with `kept=true`.
 */

import { FlashError } from "../../contract/errors.ts";
import { isPlainJsonObject } from "../../contract/json.ts";
import { LIMITS } from "../../contract/limits.ts";
import { FAILURE_KINDS, type FailureKind } from "../../contract/job-failure.ts";
import { jobDocument, type Job, type JobDocument } from "../../contract/job.ts";
import { FAILED_STATES, JOB_STATES, type JobState } from "../../contract/states.ts";
import type { FailedFilter } from "../../contract/store.ts";
import { pageOf, readText, sendJson } from "./http.ts";
import type { JobCall } from "./job-call.ts";
import { asksForKept, jobOf, locationOf, unknownJob } from "./job-of.ts";
import { checkInput, parseJson } from "./submission.ts";

const REQUESTS_DEFAULT = 50;
const REQUESTS_MAX = 1000;
/** Of the filter of a redrive. */
const MAX_FILTER_BYTES = 64 * 1024;

export async function requests({ jobs, endpoint, query, response }: JobCall): Promise<void> {
  const page = pageOf(query, { limit: REQUESTS_DEFAULT, most: REQUESTS_MAX });
  const asked = { status: listOf(query, "status"), kind: listOf(query, "kind") };
  const key = query.get("key");
  const kept = asksForKept(query);
  const endpointId = endpoint.row.id;
  const states = known("status", asked.status, JOB_STATES);
  const isAboutFailed =
    asked.kind !== undefined ||
    key !== null ||
    (states !== undefined && states.every((state) => isFailed(state)));
  const found = isAboutFailed
    ? await jobs.failed({ endpointId, ...filterOf({ ...asked, key }), kept, ...page })
    : await jobs.list({ endpointId, ...(states === undefined ? {} : { states }), kept, ...page });
  sendJson(response, 200, {
    requests: found.jobs.map(listed),
    total: found.total,
    ...page,
    hasMore: page.offset + found.jobs.length < found.total,
  });
}

/** As its own document, but for the end of a long error. */
function listed(job: Job): JobDocument {
  const document = jobDocument(job);
  const { error } = document;
  const most = LIMITS.listedErrorLength;
  if (error === undefined || error.length <= most) return document;
  return { ...document, error: `${error.slice(0, most).toWellFormed()}…` };
}

export async function retry(call: JobCall): Promise<void> {
  const { id } = await jobOf(call);
  const result = await call.jobs.retry(id, { kept: asksForKept(call.query) });
  if (result === undefined) throw unknownJob(id);
  if (!result.moved) {
    throw new FlashError(
      "INVALID_REQUEST",
      `The job '${id}' is ${result.job.state}: only FAILED and TIMED_OUT jobs can be retried.`,
      { hint: "'replay' runs its input again as a new job, whatever became of it." },
    );
  }
  sendJson(call.response, 200, { id, status: result.job.state });
}

export async function redrive({ jobs, endpoint, request, response }: JobCall): Promise<void> {
  const text = await readText(request, MAX_FILTER_BYTES);
  const asked = text.trim() === "" ? {} : parseJson(text, REDRIVE_HINT);
  if (!isPlainJsonObject(asked)) {
    throw new FlashError("INVALID_REQUEST", "The body must be a JSON object.", {
      hint: REDRIVE_HINT,
    });
  }
  const moved = await jobs.redrive(endpoint.row.id, { ...filterOf(asked), kept: true });
  sendJson(response, 200, { moved, status: "completed" });
}

const REDRIVE_HINT = 'Send {"status": ["FAILED"], "kind": ["signal"], "key": "…"}, or nothing.';

/** The present release may want another input than the one that accepted the job. */
export async function replay(call: JobCall): Promise<void> {
  const { jobs, endpoint, response } = call;
  const job = await jobOf(call);
  const { manifest, releaseId } = endpoint;
  checkInput(manifest, JSON.parse(job.input));
  const { retries, keyConcurrency } = manifest.options;
  const { executionTimeoutMs, ttlMs: ttl, lowPriority } = job.policy;
  const target = { endpointId: job.endpointId, releaseId, executionTimeoutMs, retries };
  const again = await jobs.submit(
    { ...target, keyConcurrency },
    {
      input: undefined,
      inputText: job.input,
      policy: { executionTimeout: executionTimeoutMs, ttl, lowPriority },
      ...(job.key === null ? {} : { key: job.key }),
      ...(job.extra === null ? {} : { extra: job.extra }),
    },
    "run",
  );
  const document = { id: again.id, status: again.state, replayOf: job.id };
  sendJson(response, 200, document, locationOf(call, again));
}

/** Checks a filter as a client gives it. Throws `INVALID_REQUEST`. */
function filterOf({ status, kind, key }: Record<string, unknown>): FailedFilter {
  const states = known("status", status, FAILED_STATES);
  const kinds = known<FailureKind>("kind", kind, FAILURE_KINDS);
  if (key !== undefined && key !== null && typeof key !== "string") {
    throw new FlashError("INVALID_REQUEST", "'key' must be a text.");
  }
  return {
    ...(states === undefined ? {} : { states }),
    ...(kinds === undefined ? {} : { kinds }),
    ...(typeof key === "string" ? { key } : {}),
  };
}

function known<T extends string>(
  name: string,
  given: unknown,
  allowed: readonly T[],
): readonly T[] | undefined {
  if (given === undefined || given === null) return undefined;
  const list = [given].flat();
  if (list.every((one): one is T => (allowed as readonly unknown[]).includes(one))) return list;
  throw new FlashError("INVALID_REQUEST", `'${name}' must be one of ${allowed.join(", ")}.`);
}

/** Repeated, or separated by commas. */
function listOf(query: URLSearchParams, name: string): string[] | undefined {
  const list = query.getAll(name).flatMap((text) => text.split(","));
  return list.length === 0 ? undefined : list;
}

function isFailed(state: JobState): boolean {
  return (FAILED_STATES as readonly JobState[]).includes(state);
}
