/**
 * Batches: many requests to one endpoint under one id, filled first and then set going. A request of a
 * batch becomes a job whose id is the request's.
 */

import type { JobState } from "./states.ts";

/** Ids of requests in batches, and so of their jobs, begin with this. */
export const BATCH_REQUEST_PREFIX = "req_";

/** `PENDING`: no job yet. */
export type BatchRequestState = "PENDING" | JobState;

export interface BatchRow {
  id: string;
  endpointId: string;
  name: string | null;
  createdAt: number;
  /** Null while it is being filled. */
  finalizedAt: number | null;
  cancelledAt: number | null;
  /** Requests by state; states without one are left out. */
  requests: Partial<Record<BatchRequestState, number>>;
}

export interface NewBatchRequest {
  id: string;
  /** JSON text. */
  input: string;
  /** Of its job; null when it has none. */
  key: string | null;
}

export interface BatchRequestRow {
  id: string;
  status: BatchRequestState;
  /** JSON text. */
  output: string | null;
  error: string | null;
  startedAt: number | null;
  finishedAt: number | null;
}

/** Why a batch was not changed. */
export type BatchRefusal =
  /** No such batch, or no such request. */
  | "unknown"
  /** It is no draft any more. */
  | "not-draft"
  /** The endpoint has its most active batches. */
  | "too-many-batches"
  /** The batch would have more than its most requests. */
  | "too-many-requests"
  /** The endpoint's batches would have more than their most waiting requests. */
  | "too-much-waiting";

export interface BatchStore {
  /** Makes a draft. Drops batches whose retention is over on the way. */
  create(
    batch: { id: string; endpointId: string; requests: readonly NewBatchRequest[] },
    now: number,
  ): Promise<BatchRow | BatchRefusal>;
  /** Adds requests to a draft. */
  add(batchId: string, requests: readonly NewBatchRequest[]): Promise<BatchRow | BatchRefusal>;
  /** Takes a request out of a draft. */
  removeRequest(batchId: string, requestId: string): Promise<BatchRow | BatchRefusal>;
  rename(batchId: string, name: string | null): Promise<BatchRow | BatchRefusal>;
  /** From now on its requests become jobs. Again changes nothing. */
  finalize(batchId: string, now: number): Promise<BatchRow | BatchRefusal>;
  /** Requests without a job are cancelled. Returns the ids of those whose jobs wait, too. */
  cancel(
    batchId: string,
    now: number,
  ): Promise<{ batch: BatchRow; waiting: string[] } | BatchRefusal>;
  get(batchId: string): Promise<BatchRow | undefined>;
  /** Newest first. */
  list(page: {
    endpointId: string;
    offset: number;
    limit: number;
  }): Promise<{ batches: BatchRow[]; total: number }>;
  /** In their order. May be fewer than `limit` when the outputs are large, never none where there are some. */
  requests(page: { batchId: string; offset: number; limit: number }): Promise<BatchRequestRow[]>;
  /**
   * The next requests of an endpoint's batches without a job, so many that `most` of them wait as jobs.
   * They stay without one until the job is there.
   */
  next(endpointId: string, most: number): Promise<(NewBatchRequest & { batchId: string })[]>;
  /** Endpoints with requests that should become jobs. */
  endpoints(): Promise<string[]>;
}
