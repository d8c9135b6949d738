/**
 * Batches over HTTP, below `/v2/{endpoint}/batch`. Source of paths and shapes: spec/job-api.md 6.
 *
 *   POST    /                         an array of `{input}`: a draft with these requests
 *   GET     /                         batches, newest first
 *   GET     /{batch}                  counts by outcome
 *   PUT     /{batch}                  `{name}`
 *   POST    /{batch}/requests         `{requests: [{input}]}`: adds to a draft
 *   GET     /{batch}/requests         requests with their results
 *   DELETE  /{batch}/requests/{id}    takes one out of a draft
 *   POST    /{batch}/finalize         sets it going
 *   POST    /{batch}/cancel           what waits is cancelled, what runs may finish
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { BatchRefusal, BatchRequestRow, BatchRow } from "../../contract/batch.ts";
import { FlashError } from "../../contract/errors.ts";
import { isPlainJsonObject } from "../../contract/json.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { EndpointManifest } from "../../contract/manifest.ts";
import type { BatchStore } from "../../contract/batch.ts";
import type { Batches, GivenRequest } from "../jobs/batches.ts";
import { readKey } from "../jobs/rules.ts";
import { allowed, methodOf, pageOf, queryOf, readText, sendJson, sendJsonText } from "./http.ts";
import { elementTexts, memberTexts } from "./raw-json.ts";
import { checkInput } from "./submission.ts";

export interface BatchApiContext {
  batches: Batches;
  store: BatchStore;
  endpointId: string;
  manifest: EndpointManifest;
}

interface Call extends BatchApiContext {
  batchId: string;
  /** The third segment: a request's id. */
  requestId: string;
  query: URLSearchParams;
  request: IncomingMessage;
  response: ServerResponse;
}

type Handle = (call: Call) => Promise<void>;

/** By the shape of the path: `*` stands for an id. */
const ROUTES: Readonly<Record<string, Readonly<Record<string, Handle>>>> = {
  "": { POST: create, GET: list },
  "*": { GET: get, PUT: rename },
  "*/requests": { POST: add, GET: requests },
  "*/requests/*": { DELETE: removeRequest },
  "*/finalize": { POST: finalize },
  "*/cancel": { POST: cancel },
};

const PAGE_DEFAULT = 50;
const PAGE_MAX = 1000;
const MAX_NAME_LENGTH = 200;

/** `path`: the segments after `batch`. Throws what cannot be done. */
export async function handleBatchApi(
  context: BatchApiContext,
  path: readonly string[],
  { request, response }: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  const [batchId = "", part = "", requestId = ""] = path;
  const shape = path.map((segment, index) => (index % 2 === 0 ? "*" : segment)).join("/");
  const methods = Object.hasOwn(ROUTES, shape) ? ROUTES[shape] : undefined;
  if (methods === undefined || path.includes("")) {
    throw new FlashError("NOT_FOUND", `Batches have no '/${path.join("/")}'.`, {
      hint: "They have /batch, /batch/{id} and its /requests, /finalize and /cancel.",
    });
  }
  const method = methodOf(request);
  const handle = Object.hasOwn(methods, method) ? methods[method] : undefined;
  if (handle === undefined) {
    const all = allowed(Object.keys(methods));
    response.setHeader("allow", all);
    const where = part === "" ? "/batch" : `/batch/{id}/${part}`;
    throw new FlashError("METHOD_NOT_ALLOWED", `'${where}' takes ${all}, not ${request.method}.`);
  }
  const call = {
    ...context,
    batchId,
    requestId,
    query: queryOf(request.url ?? ""),
    request,
    response,
  };
  if (batchId !== "") await requireOwn(call);
  await handle(call);
}

// --- filling

async function create(call: Call): Promise<void> {
  const text = await bodyOf(call);
  const body = parse(text === "" ? "[]" : text);
  if (!Array.isArray(body)) throw wrongBody("The body must be an array of {input}.");
  const given = requestsOf(call, body, text === "" ? [] : elementTexts(text));
  answer(call, await call.batches.create(call.endpointId, given));
}

async function add(call: Call): Promise<void> {
  const text = await bodyOf(call);
  const body = parse(text);
  if (!isPlainJsonObject(body) || !Array.isArray(body["requests"])) {
    throw wrongBody("The body must be an object with the array 'requests'.");
  }
  const texts = elementTexts(memberTexts(text).get("requests") ?? "[]");
  const given = requestsOf(call, body["requests"], texts);
  answer(call, await call.batches.add(call.batchId, given));
}

/** With the JSON texts of the inputs; each is checked as that of a single job is. */
function requestsOf(
  { manifest }: Call,
  requests: readonly unknown[],
  texts: readonly string[],
): GivenRequest[] {
  return requests.map((request, index) => {
    if (!isPlainJsonObject(request)) throw wrongBody(`requests[${index}] must be an object.`);
    const { input = {}, policy } = request;
    const key = isPlainJsonObject(policy) ? (policy["key"] ?? undefined) : undefined;
    try {
      checkInput(manifest, input);
      readKey(key);
    } catch (error) {
      if (!FlashError.is(error)) throw error;
      const message = `requests[${index}] was not accepted: ${error.message}`;
      throw new FlashError("NOT_ACCEPTED", message, {
        ...(error.hint === undefined ? {} : { hint: error.hint }),
        cause: error,
      });
    }
    return { input: memberTexts(texts[index] ?? "{}").get("input") ?? "{}", key };
  });
}

async function removeRequest(call: Call): Promise<void> {
  answer(call, await call.store.removeRequest(call.batchId, call.requestId));
}

async function rename(call: Call): Promise<void> {
  const body = parse(await bodyOf(call));
  const name = isPlainJsonObject(body) ? (body["name"] ?? null) : undefined;
  if (name !== null && (typeof name !== "string" || name.length > MAX_NAME_LENGTH)) {
    throw wrongBody(`'name' must be text of at most ${MAX_NAME_LENGTH} characters.`);
  }
  answer(call, await call.store.rename(call.batchId, name));
}

// --- going

async function finalize(call: Call): Promise<void> {
  answer(call, await call.batches.finalize(call.batchId));
}

async function cancel(call: Call): Promise<void> {
  answer(call, await call.batches.cancel(call.batchId));
}

// --- asking

async function get(call: Call): Promise<void> {
  answer(call, (await call.store.get(call.batchId)) ?? "unknown");
}

async function list({ store, endpointId, query, response }: Call): Promise<void> {
  const page = pageOf(query, { limit: PAGE_DEFAULT, most: PAGE_MAX });
  const { batches, total } = await store.list({ endpointId, ...page });
  const hasMore = page.offset + batches.length < total;
  sendJson(response, 200, { batches: batches.map(documentOf), total, ...page, hasMore });
}

async function requests({ store, batchId, query, response }: Call): Promise<void> {
  const page = pageOf(query, { limit: PAGE_DEFAULT, most: PAGE_MAX });
  const rows = await store.requests({ batchId, ...page });
  const total = totalOf((await store.get(batchId))?.requests ?? {});
  const hasMore = page.offset + rows.length < total;
  const facts = JSON.stringify({ total, ...page, hasMore }).slice(1);
  sendJsonText(response, 200, `{"requests":[${rows.map(requestText).join(",")}],${facts}`);
}

/** The output as its worker wrote it. */
function requestText({
  id,
  status,
  output,
  error,
  startedAt,
  finishedAt,
}: BatchRequestRow): string {
  const facts = JSON.stringify({
    id,
    status: status === "PENDING" ? "IN_QUEUE" : status,
    ...(error === null ? {} : { error }),
    ...(startedAt === null ? {} : { startedAt: new Date(startedAt).toISOString() }),
    ...(finishedAt === null ? {} : { completedAt: new Date(finishedAt).toISOString() }),
  });
  return output === null ? facts : `${facts.slice(0, -1)},"output":${output}}`;
}

function answer(call: Call, batch: BatchRow | BatchRefusal): void {
  if (typeof batch === "string") throw refusal(call, batch);
  sendJson(call.response, 200, documentOf(batch));
}

function documentOf(batch: BatchRow): Record<string, unknown> {
  const { id, endpointId, name, createdAt, requests: states } = batch;
  const { COMPLETED = 0, FAILED = 0, TIMED_OUT = 0, CANCELLED = 0, IN_PROGRESS = 0 } = states;
  return {
    id,
    endpointId,
    status: stateOf(batch),
    ...(name === null ? {} : { name }),
    requestTotal: totalOf(states),
    requestInProgress: IN_PROGRESS,
    requestCompleted: COMPLETED,
    requestFailed: FAILED + TIMED_OUT + CANCELLED,
    createdAt,
  };
}

/** There is no state for running or done: done is when completed and failed make the total. */
function stateOf({ finalizedAt, cancelledAt, requests: states }: BatchRow): string {
  const { IN_QUEUE = 0, IN_PROGRESS = 0 } = states;
  if (cancelledAt !== null && IN_QUEUE + IN_PROGRESS === 0) return "CANCELLED";
  return finalizedAt === null ? "DRAFT" : "FINALIZED";
}

function totalOf(states: BatchRow["requests"]): number {
  return Object.values(states).reduce((total, count) => total + count, 0);
}

// --- refusing

/** A batch of another endpoint does not exist here. */
async function requireOwn(call: Call): Promise<void> {
  const batch = await call.store.get(call.batchId);
  if (batch?.endpointId !== call.endpointId) throw refusal(call, "unknown");
}

function refusal({ batchId, requestId }: Call, why: BatchRefusal): FlashError {
  switch (why) {
    case "unknown": {
      const what =
        requestId === ""
          ? `There is no batch '${batchId}'.`
          : `The batch '${batchId}' has no request '${requestId}'.`;
      return new FlashError("JOB_NOT_FOUND", what);
    }
    case "not-draft":
      return new FlashError("CONFLICT", `The batch '${batchId}' is no draft any more.`, {
        hint: "Make another one for further requests.",
      });
    case "too-many-batches":
      return new FlashError(
        "OVERLOADED",
        `The endpoint has ${LIMITS.batchesActive} active batches, the most there may be.`,
        { hint: "Wait until one is done, or cancel one." },
      );
    case "too-many-requests":
      return new FlashError(
        "NOT_ACCEPTED",
        `A batch has at most ${LIMITS.batchRequests} requests.`,
        { hint: "Spread them over several batches." },
      );
    case "too-much-waiting":
      return new FlashError(
        "OVERLOADED",
        `At most ${LIMITS.batchRequestsWaiting} requests of an endpoint's batches may wait.`,
        { hint: "Finalize it when others are done." },
      );
  }
}

async function bodyOf({ request }: Call): Promise<string> {
  return await readText(request, LIMITS.runBodyBytes);
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new FlashError("INVALID_REQUEST", `The body is not JSON: ${(cause as Error).message}.`, {
      cause,
    });
  }
}

function wrongBody(message: string): FlashError {
  return new FlashError("INVALID_REQUEST", message);
}
