/**
 * Calls of deployed endpoints over HTTP, as `flash call` makes them: a job that is followed to its end,
 * or one request to a route.
 */

import { errorOfProblem, FlashError } from "../contract/errors.ts";
import { isPlainJsonObject, parseOrUndefined } from "../contract/json.ts";
import type { JobDocument } from "../contract/job.ts";
import { serverSentEvents } from "../kit/event-stream.ts";
import { jobFailure } from "../sdk/failure.ts";

/** How one endpoint is reached. */
export interface Line {
  /** What messages call it. */
  name: string;
  /** Base URL of the endpoint. */
  url: string;
  key: string | undefined;
  signal: AbortSignal;
}

/** What a job says while it is followed. */
export type JobNews =
  | { kind: "chunk"; value: unknown }
  /** The attempt failed; the chunks so far are void. */
  | { kind: "restart" }
  | { kind: "end"; job: JobDocument };

/** How often the stream of a job is picked up again after the connection broke. */
const RESUMES = 5;
/** Longest part of an answer that a message repeats, characters. */
const EXCERPT = 300;

/** Submits a job. Throws what the server says, `NOT_ACCEPTED` for a wrong input among it. */
export async function submitJob(
  line: Line,
  input: unknown,
): Promise<{ id: string; status: string }> {
  const response = await send(line, { method: "POST", path: "/run", json: { input } });
  return (await response.json()) as { id: string; status: string };
}

/** Follows a job to its end, over broken connections. The last news is its end. */
export async function* followJob(line: Line, id: string): AsyncGenerator<JobNews> {
  let lastId: string | undefined;
  for (let resumes = 0; resumes <= RESUMES; resumes++) {
    const response = await send(line, {
      method: "GET",
      path: `/stream/${encodeURIComponent(id)}`,
      headers: {
        accept: "text/event-stream",
        ...(lastId === undefined ? {} : { "last-event-id": lastId }),
      },
    });
    try {
      for await (const { event, data, id: at } of serverSentEvents(bodyOf(response))) {
        lastId = at ?? lastId;
        // What arrives shows that the connection is good again.
        resumes = 0;
        const value: unknown = JSON.parse(data);
        if (event === "end") return yield { kind: "end", job: value as JobDocument };
        yield event === "restart" ? { kind: "restart" } : { kind: "chunk", value };
      }
    } catch (error) {
      if (line.signal.aborted) throw line.signal.reason;
      if (!(error instanceof TypeError)) throw error;
    }
  }
  throw new FlashError(
    "CONNECTION_FAILED",
    `The connection to ${line.name} broke again and again.`,
    {
      hint: `The job goes on: 'flash jobs show ${line.name} ${id}'.`,
    },
  );
}

/** Throws why the job did not complete. */
export function mustComplete(job: JobDocument, name: string): void {
  if (job.status === "COMPLETED") return;
  const { code, message, cause } = jobFailure(job);
  throw new FlashError(code, message.replace("remote execution failed: ", `${name} failed: `), {
    hint: `'flash jobs show ${name} ${job.id}' has all of it, 'flash jobs retry ${name} ${job.id}' runs it again.`,
    details: { job: job.id, status: job.status },
    ...(cause === undefined ? {} : { cause }),
  });
}

export interface RouteCall {
  method: string;
  /** With its query. */
  path: string;
  json?: unknown;
  headers?: Record<string, string>;
}

/** Sends a request. Throws for every answer that is an error. */
export async function send(
  line: Line,
  { method, path, json, headers }: RouteCall,
): Promise<Response> {
  const body = json === undefined ? null : JSON.stringify(json);
  let response: Response;
  try {
    response = await fetch(line.url + path, {
      method,
      body,
      headers: {
        ...(body === null ? {} : { "content-type": "application/json" }),
        ...(line.key === undefined ? {} : { authorization: `Bearer ${line.key}` }),
        ...headers,
      },
      signal: line.signal,
    });
  } catch (error) {
    if (line.signal.aborted) throw line.signal.reason;
    throw new FlashError("CONNECTION_FAILED", `${line.name} cannot be reached at ${line.url}.`, {
      hint: "'flash status' shows whether its server runs, and where.",
      cause: error,
    });
  }
  if (response.ok) return response;
  throw await failureOf(response, `${method} ${path}`, line.name);
}

async function failureOf(response: Response, what: string, name: string): Promise<FlashError> {
  const text = await response.text();
  const problem = errorOfProblem(parseOrUndefined(text));
  if (problem !== undefined) return problem;
  const excerpt = text.trim().slice(0, EXCERPT);
  return new FlashError(
    "FUNCTION_ERROR",
    `${name} answered ${what} with ${response.status}${excerpt === "" ? "" : `: ${excerpt}`}`,
    { status: response.status, details: { status: response.status } },
  );
}

/** The values of an answer: one, or as many as its stream has. */
export async function* valuesOf(response: Response): AsyncGenerator {
  const type = response.headers.get("content-type") ?? "";
  if (/^text\/event-stream\b/.test(type)) {
    for await (const { event, data } of serverSentEvents(bodyOf(response))) {
      const value = parseOrUndefined(data) ?? data;
      if (event === "error") throw errorOfProblem(value) ?? new FlashError("FUNCTION_ERROR", data);
      if (data !== "") yield value;
    }
    return;
  }
  if (/\bjson\b/.test(type)) {
    const text = await response.text();
    if (text !== "") yield parseOrUndefined(text) ?? text;
  } else if (type.startsWith("text/")) yield await response.text();
  else {
    const bytes = new Uint8Array(await response.arrayBuffer());
    if (bytes.length > 0) yield bytes;
  }
}

/** What follows the path, for requests that have no body. Lists repeat their key. */
export function queryOf(data: unknown): string {
  if (data === undefined || !isPlainJsonObject(data)) return "";
  const pairs = Object.entries(data).flatMap(([key, value]) =>
    [value]
      .flat()
      .map((one): [string, string] => [key, typeof one === "string" ? one : JSON.stringify(one)]),
  );
  return pairs.length === 0 ? "" : `?${new URLSearchParams(pairs).toString()}`;
}

function bodyOf(response: Response): AsyncIterable<Uint8Array> {
  return response.body ?? new Response("").body ?? new ReadableStream();
}
