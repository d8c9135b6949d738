/** Jobs of deployed queue endpoints over the job API: submit, look, hold, stream, cancel. */

import { FlashError } from "../contract/flash-error.ts";
import type { JobDocument } from "../contract/job.ts";
import { parseOrUndefined } from "../contract/json.ts";
import { LIMITS } from "../contract/limits.ts";
import { isFinal, type JobState } from "../contract/states.ts";
import type { Peer } from "./connection.ts";
import { ensureOk, exchange, excerptOf, type Outgoing } from "./exchange.ts";
import { jobFailure } from "./failure.ts";
import type { JobSource } from "./job.ts";
import { Deadline, POLLING, Patience, pause } from "./pause.ts";
import type { CallOptions } from "./types.ts";

/** Time of small operations, ms. Source: the original. */
const OPERATION_TIMEOUT_MS = 30_000;
/** A held answer arrives this long after its hold at the latest, ms. */
const HOLD_SLACK_MS = 5000;

/** Settings of one request. */
export type Limits = {
  [K in keyof CallOptions]: CallOptions[K] | undefined;
};

export type Submission = Limits & {
  /** Sent as it is. */
  body: unknown;
  /** The job is of no use after the caller's deadline. Default false: it outlives its caller. */
  passDeadline?: boolean;
  /** The job ends with the request, and with that of {@link hold}, if a function makes them. */
  isAttached?: boolean;
  /** False: nobody waits for the job. */
  isWaitedFor?: boolean;
};

/** `POST /run`, or `/runsync` held as long as the server does. */
export function submit(
  peer: Peer,
  operation: "run" | "runsync",
  { body, passDeadline = false, ...rest }: Submission,
): Promise<JobDocument> {
  const sent = { method: "POST", body: JSON.stringify(body), passDeadline };
  return requestJob(peer, `/${operation}`, { ...sent, ...rest });
}

/**
 * `POST /runsync`, held by the server for `timeoutMs`. The answer then has the job as it is, so that
 * its id is not lost with a request that the client gives up.
 */
export function submitAndHold(
  peer: Peer,
  { body, timeoutMs = LIMITS.waitDefaultMs, ...limits }: Submission,
): Promise<JobDocument> {
  const waitMs = Math.round(Math.min(LIMITS.waitMaxMs, Math.max(LIMITS.waitMinMs, timeoutMs)));
  const sent = { method: "POST", body: JSON.stringify(body), passDeadline: false };
  const path = `/runsync?wait=${waitMs}`;
  return requestJob(peer, path, { ...sent, ...limits, timeoutMs: waitMs + HOLD_SLACK_MS });
}

/** Waits on the server, as the job's only reader, until the job is over. Throws `CALL_TIMEOUT` when the deadline is. */
export async function hold(
  peer: Peer,
  first: JobDocument,
  { deadline, signal }: { deadline: Deadline; signal?: AbortSignal | undefined },
): Promise<JobDocument> {
  let document = first;
  const patience = new Patience();
  while (!isOver(document)) {
    const waitMs = Math.min(LIMITS.waitDefaultMs, Math.max(LIMITS.waitMinMs, deadline.remainingMs));
    try {
      document = await requestJob(
        peer,
        `/status-sync/${encodeURIComponent(document.id)}?wait=${Math.round(waitMs)}`,
        {
          method: "GET",
          timeoutMs: Math.min(waitMs + HOLD_SLACK_MS, deadline.remainingMs),
          signal,
          isAttached: true,
        },
      );
      patience.renew();
    } catch (error) {
      await pause(patience.delayMs(error, deadline), { signal });
    }
  }
  return document;
}

export function readJob(peer: Peer, id: string, limits: Limits = {}): Promise<JobDocument> {
  return requestJob(peer, `/status/${encodeURIComponent(id)}`, {
    method: "GET",
    timeoutMs: OPERATION_TIMEOUT_MS,
    ...limits,
  });
}

/** `POST /cancel` or `/retry`. */
export function changeJob(
  peer: Peer,
  operation: "cancel" | "retry",
  { id, ...limits }: Limits & { id: string },
): Promise<JobDocument> {
  return requestJob(peer, `/${operation}/${encodeURIComponent(id)}`, {
    method: "POST",
    timeoutMs: OPERATION_TIMEOUT_MS,
    ...limits,
  });
}

/** Operations on the endpoint itself. */
export function operate(
  peer: Peer,
  [method, path]: ["GET" | "POST", string],
  limits: Limits,
): Promise<unknown> {
  return request(peer, path, { method, timeoutMs: OPERATION_TIMEOUT_MS, ...limits });
}

export interface StreamLimits {
  signal?: AbortSignal | undefined;
  /** Default: until the job is over. */
  deadline?: Deadline;
}

/** Chunks of a job until it is over. Throws the job's failure after the chunks it has produced. */
export async function* chunksOf(
  peer: Peer,
  id: string,
  { signal, deadline = new Deadline(undefined) }: StreamLimits = {},
): AsyncGenerator {
  const patience = new Patience();
  for (;;) {
    const askedAt = performance.now();
    let page: StreamPage;
    try {
      page = await readPage(peer, id, { signal, deadline });
      patience.renew();
    } catch (error) {
      await pause(patience.delayMs(error, deadline), { signal });
      continue;
    }
    const chunks = page.stream ?? [];
    for (const { output } of chunks) yield output;
    // A final state may come with the last chunks; only an empty page says that none is left.
    if (chunks.length > 0) continue;
    if (isFinal((page.status ?? "IN_QUEUE") as JobState)) break;
    // Servers hold an empty answer back; one that does not must not be asked in a tight loop.
    if (performance.now() - askedAt < POLLING.baseMs) await pause(deadline.delayMs(0), { signal });
  }
  const document = await readJob(peer, id, signal === undefined ? {} : { signal });
  if (document.status !== "COMPLETED") throw jobFailure(document);
}

interface StreamPage {
  status?: string;
  stream?: { output?: unknown }[];
}

async function readPage(
  peer: Peer,
  id: string,
  { signal, deadline }: { signal?: AbortSignal | undefined; deadline: Deadline },
): Promise<StreamPage> {
  const page = await request(peer, `/stream/${encodeURIComponent(id)}`, {
    method: "GET",
    timeoutMs: Math.min(OPERATION_TIMEOUT_MS, deadline.remainingMs),
    signal,
  });
  return page ?? {};
}

/** How the values of a job become what its function returned. */
export interface Codec {
  output: (value: unknown) => unknown;
  chunk: (value: unknown) => unknown;
  /** The function yields chunks. */
  isStream: boolean;
}

const PLAIN: Codec = { output: (value) => value, chunk: (value) => value, isStream: false };

/** A job on a server. */
export class RemoteJob implements JobSource {
  readonly endpoint: string;
  readonly isStream: boolean;
  readonly #codec: Codec;
  readonly #peer: Peer;
  readonly #id: string;

  constructor(peer: Peer, id: string, codec: Codec = PLAIN) {
    this.endpoint = peer.name;
    this.#codec = codec;
    this.isStream = codec.isStream;
    this.#peer = peer;
    this.#id = id;
  }

  read(limits: Limits): Promise<JobDocument> {
    return readJob(this.#peer, this.#id, limits);
  }

  cancel(limits: Limits): Promise<JobDocument> {
    return changeJob(this.#peer, "cancel", { ...limits, id: this.#id });
  }

  async *chunks(limits: StreamLimits): AsyncGenerator {
    for await (const chunk of chunksOf(this.#peer, this.#id, limits)) {
      yield this.#codec.chunk(chunk);
    }
  }

  decode(output: unknown): unknown {
    return this.#codec.output(output);
  }
}

function isOver({ status }: JobDocument): boolean {
  return isFinal(status);
}

async function requestJob(
  peer: Peer,
  path: string,
  outgoing: Omit<Outgoing, "url">,
): Promise<JobDocument> {
  const value = (await request(peer, path, outgoing)) as Partial<JobDocument> | null | undefined;
  if (typeof value?.id === "string" && typeof value.status === "string")
    return value as JobDocument;
  throw new FlashError(
    "REMOTE_ERROR",
    `unexpected response from endpoint ${peer.name}: no job in ${excerptOf(JSON.stringify(value) ?? "an empty body")}`,
  );
}

function request(peer: Peer, path: string, outgoing: Omit<Outgoing, "url">): Promise<unknown> {
  return exchange(peer, { ...outgoing, url: `${peer.jobsUrl}${path}` }, async (response) => {
    await ensureOk(response, peer);
    return parseOrUndefined(await response.text());
  });
}
