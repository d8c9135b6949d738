/** What clients submit: reading a body, and refusing what the function would refuse. */

import { Binder } from "../../contract/binder.ts";
import { FlashError } from "../../contract/errors.ts";
import { isPlainJsonObject, isTooDeep, MAX_DEPTH } from "../../contract/json.ts";
import type { EndpointManifest, FunctionManifest } from "../../contract/manifest.ts";
import { chooseFunction } from "../../contract/methods.ts";
import { ORIGIN_MEMBER, originMember, type Origin } from "../../contract/origin.ts";
import { DEADLINE_HEADER, EXPECTED_VERSION_HEADER } from "../../contract/worker-env.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { JobRequest, JobTarget } from "../jobs/jobs.ts";
import { clamped } from "./http.ts";
import { refuseJobLoop, refuseStale } from "./origin.ts";
import { memberTexts, objectText } from "./raw-json.ts";

const MAX_KEY_LENGTH = 255;
/** For clients that cannot set `policy.key`, which wins. */
const JOB_KEY_HEADER = "x-flash-job-key";

/** What a request's head says about the job. */
export interface Asked {
  ttl: number | undefined;
  idempotencyKey: string | undefined;
  key: string | undefined;
  /** When the caller's own time is over, epoch ms. */
  deadline: number | undefined;
  /** The version of the endpoint that the call was made for. */
  expected: string | undefined;
}

/** A job to be accepted, and where it goes. */
export interface Submission {
  target: JobTarget;
  body: JobRequest;
}

export function askedOf(
  headers: Readonly<Partial<Record<string, string | string[]>>>,
  query: URLSearchParams,
): Asked {
  return {
    ttl: clamped(query.get("ttl"), LIMITS.ttlMinMs, LIMITS.ttlMaxMs),
    idempotencyKey: textOf(headers["idempotency-key"]),
    key: textOf(headers[JOB_KEY_HEADER]),
    deadline: timeIn(textOf(headers[DEADLINE_HEADER])),
    expected: textOf(headers[EXPECTED_VERSION_HEADER]),
  };
}

function timeIn(text: string | undefined): number | undefined {
  const time = text === undefined || text === "" ? Number.NaN : Number(text);
  return Number.isFinite(time) ? time : undefined;
}

function textOf(header: string | string[] | undefined): string | undefined {
  return typeof header === "string" ? header : undefined;
}

/** Throws for what is no submission, and for an input that the endpoint's function would refuse. */
export function readSubmission(
  endpoint: { row: { id: string }; releaseId: string; manifest: EndpointManifest },
  { text, origin, ...asked }: Asked & { text: string; origin: Origin },
): Submission {
  const { ttl, idempotencyKey, deadline } = asked;
  const { manifest } = endpoint;
  const { body, extra } = parseBody(text);
  const key = body.key ?? asked.key;
  refuseStale(asked.expected, manifest);
  refuseJobLoop(origin, manifest, body.input);
  checkInput(manifest, body.input);
  const { options } = manifest;
  const target = {
    endpointId: endpoint.row.id,
    releaseId: endpoint.releaseId,
    executionTimeoutMs: options.executionTimeoutMs,
    retries: options.retries,
    keyConcurrency: options.keyConcurrency,
  };
  if (ttl !== undefined) body.policy = { ...body.policy, ttl };
  if (idempotencyKey !== undefined) body.idempotencyKey = checkKey(idempotencyKey);
  if (key !== undefined) body.key = key;
  if (deadline !== undefined) body.deadline = deadline;
  const member = originMember(origin);
  if (member !== undefined) extra.push([ORIGIN_MEMBER, JSON.stringify(member)]);
  if (extra.length > 0) body.extra = objectText(extra);
  return { target, body };
}

/** A submission's body, and what it says beyond its own members to the worker. */
interface Parsed {
  body: JobRequest;
  extra: [name: string, text: string][];
}

/** Unknown keys are ignored: official examples send some by mistake. */
function parseBody(text: string): Parsed {
  const body = parseJson(text, BODY_HINT);
  if (!isPlainJsonObject(body)) {
    throw new FlashError("INVALID_REQUEST", "The body must be a JSON object.", { hint: BODY_HINT });
  }
  const { webhook, policy, s3Config } = body;
  if (webhook !== undefined && webhook !== null && typeof webhook !== "string") {
    throw new FlashError("NOT_ACCEPTED", "The job was not accepted: webhook must be a URL.");
  }
  if (policy !== undefined && policy !== null && !isPlainJsonObject(policy)) {
    throw new FlashError("NOT_ACCEPTED", "The job was not accepted: policy must be an object.");
  }
  if (s3Config !== undefined && s3Config !== null && !isPlainJsonObject(s3Config)) {
    throw new FlashError("NOT_ACCEPTED", "The job was not accepted: s3Config must be an object.");
  }
  refuseTooDeep("s3Config", s3Config);
  const texts = memberTexts(text);
  const { runAt, delayMs, key, ...limits } = isPlainJsonObject(policy) ? withoutNulls(policy) : {};
  const request: JobRequest = {
    // The Go client leaves an empty input out.
    input: body["input"] === undefined ? {} : body["input"],
    inputText: texts.get("input") ?? "{}",
    ...(typeof webhook === "string" ? { webhook } : {}),
    policy: limits,
    ...(runAt === undefined ? {} : { runAt: timeOf(runAt) }),
    ...(delayMs === undefined ? {} : { delayMs: delayMs as number }),
    ...(key === undefined ? {} : { key: key as string }),
  };
  return {
    body: request,
    extra: isPlainJsonObject(s3Config) ? [["s3Config", texts.get("s3Config") ?? "{}"]] : [],
  };
}

/** Throws `NOT_ACCEPTED`: whoever reads it might not have the stack for it. */
function refuseTooDeep(what: string, value: unknown): void {
  if (!isTooDeep(value)) return;
  const message = `The job was not accepted: ${what} is nested deeper than ${MAX_DEPTH} levels.`;
  throw new FlashError("NOT_ACCEPTED", message);
}

/** Throws `INVALID_REQUEST`. */
export function parseJson(text: string, hint: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    const message = `The body is not JSON: ${(cause as Error).message}.`;
    throw new FlashError("INVALID_REQUEST", message, { hint, cause });
  }
}

const BODY_HINT = 'Send {"input": …}.';

/** Epoch ms, of a number or an ISO 8601 time; what is neither is refused with the other limits. */
function timeOf(runAt: unknown): number {
  return typeof runAt === "string" ? Date.parse(runAt) : (runAt as number);
}

function withoutNulls(policy: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(policy).filter(([, value]) => value !== null));
}

function checkKey(key: string): string {
  if (key.length > 0 && key.length <= MAX_KEY_LENGTH) return key;
  throw new FlashError(
    "NOT_ACCEPTED",
    `The job was not accepted: Idempotency-Key must have 1 to ${MAX_KEY_LENGTH} characters.`,
  );
}

const binders = new WeakMap<FunctionManifest, Binder>();

/** Refuses an input that the function would refuse, before the job is accepted. */
export function checkInput(manifest: EndpointManifest, input: unknown): void {
  if (manifest.functions.length === 0) return refuseTooDeep("input", input);
  try {
    const chosen = chooseFunction(manifest.functions, input, manifest.name);
    const binder = binders.get(chosen.fn) ?? new Binder(chosen.fn);
    binders.set(chosen.fn, binder);
    binder.decodeInput(chosen.input);
  } catch (error) {
    if (!FlashError.is(error)) throw error;
    const { issues, hint } = error;
    // The code of the same failure elsewhere, with the status that the job API has for a refusal.
    throw new FlashError(error.code, error.message, {
      status: 400,
      ...(issues === undefined ? {} : { issues }),
      ...(hint === undefined ? {} : { hint }),
    });
  }
}
