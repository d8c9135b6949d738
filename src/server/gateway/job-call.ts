/** A call of the job API: the queue endpoint it is for, who calls, and what its handlers reach. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { BatchStore } from "../../contract/batch.ts";
import type { EndpointManifest } from "../../contract/manifest.ts";
import type { Origin } from "../../contract/origin.ts";
import type { EndpointRow } from "../../contract/store.ts";
import type { Batches } from "../jobs/batches.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { Principal } from "./http.ts";
import type { RateLimits } from "./rate-limits.ts";

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

export interface JobCall extends JobApiContext {
  /** The path segment after the operation. */
  id: string;
  query: URLSearchParams;
  request: IncomingMessage;
  response: ServerResponse;
}
