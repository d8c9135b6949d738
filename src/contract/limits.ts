/** Limits that are promises to users, each with its unit and the reason or source. */

import { MAX_NAME_LENGTH } from "./names.ts";

const KIB = 1024;
const MIB = 1024 * KIB;
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

export const LIMITS = {
  /** Body of `/run`, bytes. Source: Runpod job API. */
  runBodyBytes: 10 * MIB,
  /** Body of `/runsync`, bytes. Source: Runpod job API. */
  runsyncBodyBytes: 20 * MIB,
  /** Body of a load-balanced request or response, bytes. Source: Runpod load balancing. */
  lbBodyBytes: 30 * MIB,
  /** One stream chunk, bytes; larger ones are split. Source: Runpod job API. */
  streamChunkBytes: 1 * MIB,
  /**
   * A stream's chunks are also the job's output, as one list, up to this much JSON, bytes; the output
   * of a longer stream is `[]`. The worker keeps them meanwhile, and every look at the job has them.
   */
  streamOutputBytes: 1 * MIB,
  /** A job's error as its worker wrote it, characters; of a longer one the beginning is kept. */
  errorLength: 256 * KIB,
  /** Of an error in a list of jobs, characters: a list has many. */
  listedErrorLength: 16 * KIB,
  /** A live bundle on `/execute`, bytes. Source: the original's live-serverless cap. */
  liveBundleBytes: 8 * MIB,
  /** A manifest by itself, as a plan needs it, bytes: thousands of endpoints. */
  manifestBytes: 64 * MIB,
  /** A build that no release has used is kept this long, ms: its deployment may still come. */
  unusedBuildMs: HOUR,
  /** The artifact, bytes. Source: Runpod. */
  artifactBytes: 1500 * MIB,

  /** A load-balanced request waits this long for a worker, ms. Source: Runpod load balancing. */
  lbWorkerWaitMs: 2 * MINUTE,
  /** A load-balanced request is processed this long at most, ms. Source: Runpod load balancing. */
  lbProcessingMs: 5.5 * MINUTE,

  /** `/runsync` and `/status-sync` hold by default, ms; bounds of `?wait=`. Source: Runpod job API. */
  waitDefaultMs: 90 * SECOND,
  waitMinMs: 1 * SECOND,
  waitMaxMs: 300 * SECOND,

  /** A job's execution time per attempt, ms. Source: Runpod job policies. */
  executionTimeoutDefaultMs: 10 * MINUTE,
  executionTimeoutMinMs: 5 * SECOND,
  executionTimeoutMaxMs: 7 * DAY,
  /** A job's whole life from submission, ms. Source: Runpod job policies. */
  ttlDefaultMs: DAY,
  ttlMinMs: 10 * SECOND,
  ttlMaxMs: 7 * DAY,
  /** A result is kept this long after the end, ms. Source: Runpod job API. */
  retentionRunMs: 30 * MINUTE,
  retentionRunsyncMs: 1 * MINUTE,
  /** Batches of an endpoint that are being filled or run, requests of one batch, and requests that wait. Source: Runpod job API. */
  batchesActive: 10,
  batchRequests: 5000,
  batchRequestsWaiting: 50_000,
  /** A batch and its results are kept this long after it was set going, ms. */
  retentionBatchMs: 7 * DAY,
  /**
   * A job-take and a job-stop poll are held this long, ms. The oldest worker SDK gives up after
   * 30 s, and every answer without a job is followed by another poll at once.
   */
  pollHoldMs: 20 * SECOND,
  /** `/stream` without `?wait=` holds this long, ms: the Python client gives up after 10 s. */
  streamHoldMs: 5 * SECOND,

  /** Functions that wait for each other across endpoints, at most. More is a loop that changes its names. */
  callDepth: 16,

  /** Endpoint and app names. They become host names, file names and URL segments. */
  nameLength: MAX_NAME_LENGTH,
  /** A worker gets this long to become ready, ms. Source: Runpod counts 7 min as unhealthy. */
  workerStartMs: 7 * MINUTE,
  /** SIGTERM to SIGKILL when draining a worker, ms. */
  workerGraceMs: 30 * SECOND,
} as const;

/** Ports and defaults of the programs. */
export const DEFAULTS = {
  /** `flash server`. Environment: FLASH_PORT. */
  serverPort: 4747,
  /** `flash run`. Source: the original. */
  devPort: 8888,
  /** A load-balanced worker without `PORT`. Source: the original. */
  workerPort: 8000,
  environment: "production",
  /** Releases of an environment that can come back. Environment: FLASH_KEEP_RELEASES. */
  keepReleases: 10,
  /** Failed jobs are kept this long after their end, ms. Environment: FLASH_KEEP_FAILED, in days. */
  keepFailedMs: 7 * DAY,
  /** And so many of an endpoint at most, the newest: their inputs take room. */
  keepFailedJobs: 10_000,
} as const;
