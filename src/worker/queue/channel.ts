/**
 * How jobs come to a worker and their results go back: what the queue loop needs of it, whichever way
 * it is done. `polling` asks over HTTP, as every server of the worker protocol expects; `link` has a
 * connection of its own to a Flash server.
 */

import type { ORIGIN_MEMBER } from "../../contract/origin.ts";

/** A job as the server hands it out. Unknown keys are allowed. */
export interface JobMessage {
  id: string;
  input: unknown;
  /** Fencing number; only a Flash server sends it. */
  attempt?: unknown;
  /** Longest run of this attempt, ms; only a Flash server sends it. */
  executionTimeout?: unknown;
  /** Where the job comes from; only a Flash server sends it. See contract/origin.ts. */
  [ORIGIN_MEMBER]?: unknown;
}

/** `refused`: the server understood and does not want it. `lost`: nobody took it in time. */
export type Posted = "accepted" | "refused" | "lost";

/** A word about a job. A job's posts follow each other: the next one waits for the answer. */
export interface Post {
  jobId: string;
  attempt: number | undefined;
  /** What `job-done` or `job-stream` takes. */
  body: Readonly<Record<string, unknown>>;
  /** Told to the server as `isStream`. */
  isStream?: boolean;
  /** Of a streamed value: which one of the attempt it is, from 1. */
  number?: number;
}

/** Who runs the jobs. */
export interface JobReceiver {
  /** How many more may come now. */
  readonly free: number;
  /** Ids of the jobs whose results are not yet with the server. */
  readonly held: Iterable<string>;
  give(message: JobMessage): void;
  /** True when the job was running here until now. */
  stop(jobId: string): boolean;
}

export interface JobChannel {
  /** From now on jobs and stops come. */
  start(receiver: JobReceiver): void;
  /** `free` has grown. */
  hasRoom(): void;
  /** A result or a progress value. Offered again and again while the server is away. Never rejects. */
  postOutput(post: Post): Promise<Posted>;
  /** One streamed value. Never rejects. */
  postChunk(post: Post): Promise<Posted>;
  /** Resolves when no job comes any more. Stops still do. */
  stopTaking(): Promise<void>;
  close(): Promise<void>;
}

/** A result is offered for this long, ms: a server that restarts must not cost a finished job. */
export const POST_PATIENCE_MS = 60_000;
