/**
 * The store: the only truth about jobs, releases and everything else that must survive. Every
 * method is one atomic step, and its promise resolves after the commit is on disk. Callers never
 * read, decide and write back; they name the move, and the store guards it.
 */

import type { BatchStore } from "./batch.ts";
import type { AuditStore, KeyStore, SecretStore } from "./identity.ts";
import type { Manifest } from "./manifest.ts";
import type { Job, JobCounts, NewJob } from "./job.ts";
import type { FailureKind } from "./job-failure.ts";
import type { FailedState, JobState, ReleaseState } from "./states.ts";

/** `strict`: on disk before acknowledged. `relaxed`: flushed soon after. `memory`: for tests and `flash run`. */
export type Durability = "strict" | "relaxed" | "memory";

export interface Store {
  readonly durability: Durability;
  readonly jobs: JobStore;
  readonly webhooks: WebhookStore;
  readonly control: ControlStore;
  readonly workerKeys: WorkerKeyStore;
  readonly batches: BatchStore;
  readonly keys: KeyStore;
  readonly secrets: SecretStore;
  readonly audit: AuditStore;
  /** Undefined where the store does not measure itself. */
  readonly measures?: StoreMeasures;
  /** Idempotent; waits for what is under way. */
  close(): Promise<void>;
}

/** How the store does, for metrics. */
export interface StoreMeasures {
  /** Operations that are not yet acknowledged. */
  readonly pending: number;
  /** Operations in a transaction. */
  readonly groupSizes: Distribution;
  /** From the beginning of a transaction to its being on the disk, seconds. */
  readonly commitSeconds: Distribution;
}

/** Counts of values by size; see kit/histogram. */
export interface Distribution {
  readonly bounds: readonly number[];
  readonly counts: Float64Array;
  readonly sum: number;
}

/** What a worker is given when it takes a job. */
export type TakenJob = Job & { state: "IN_PROGRESS"; workerId: string };

export type Outcome =
  | { kind: "completed"; /** JSON text, null when the body had none. */ output: string | null }
  /** A final failure. */
  | { kind: "failed"; error: string; output: string | null; history?: string }
  /**
   * Back into the queue, to start at `runAt` at the earliest. Counts as a failure, unless `blameless`:
   * the job never reached its worker, or the server itself ended the attempt.
   */
  | {
      kind: "requeued";
      runAt: number;
      blameless?: boolean;
      /** Default: as it is. */
      history?: string;
      /** Since when it runs alone on its worker; null from now on no more. Default: as it is. */
      aloneSince?: number | null;
    }
  | { kind: "timed-out"; error: string };

/** Which jobs that have failed for good. What is left out does not matter. */
export interface FailedFilter {
  states?: readonly FailedState[];
  kinds?: readonly FailureKind[];
  /** The key of the job. */
  key?: string;
  /** Those too whose results are over. Default false. */
  kept?: boolean;
}

/** How long failed jobs outlive their end, and how many of an endpoint at most, the newest. */
export interface KeepFailed {
  forMs: number;
  jobs: number;
}

/** After this a job that has to run alone keeps others from busy workers, until one of these is idle. */
export const ALONE_WAIT_MS = 10_000;

/** One value of a stream. */
export interface StreamedValue {
  /** Its chunks, JSON texts. */
  pieces: readonly string[];
  /** Which one of the attempt it is, from 1. Values come in their order, the last one perhaps again. */
  number?: number | undefined;
}

export interface JobStore {
  /**
   * About when the last server wrote something, by its own clock, epoch ms: not before any open job was
   * accepted or sent back, as far as a look at the newest ones tells. Undefined when it has left none.
   */
  latestAt(): Promise<number | undefined>;
  /**
   * A server starts and believes that it is `now`, even if it was later when the last one ended. What was
   * accepted or ended later than `now` counts as if that had been now, so that nothing waits for that time.
   */
  begin(now: number): Promise<void>;
  /** True when a queued job runs alone on its worker. */
  hasAlone(): Promise<boolean>;
  /**
   * Accepts jobs, all or none. With an idempotency key that is already known for the endpoint the
   * earlier job is returned instead. `isWaited`: who has asked is told nothing before the jobs' ends, which
   * the disk has with everything before them, so that this may resolve earlier.
   */
  submit(jobs: readonly NewJob[], options?: { isWaited?: boolean }): Promise<Job[]>;
  /**
   * Hands out up to `limit` due jobs of an endpoint, oldest first: IN_QUEUE → IN_PROGRESS,
   * `attempt` + 1. Only jobs of `releaseId`, when it is given. Keys take turns. A job that runs alone is
   * handed out alone, and only to a worker that `isIdle`; the others go first for {@link ALONE_WAIT_MS}.
   */
  take(request: {
    endpointId: string;
    releaseId?: string;
    workerId: string;
    /** The worker holds no job. Default true. */
    isIdle?: boolean;
    /**
     * The worker does not outlive this machine: it gets its jobs without waiting for the disk to have the
     * take. Default false.
     */
    isLocal?: boolean;
    limit: number;
    now: number;
    leaseUntil: number;
  }): Promise<TakenJob[]>;
  /**
   * Ends or requeues the attempt. Returns the job after the move, or undefined when `attempt` is no
   * longer the running one: the result was stale and nothing changed. `dropAt` counts for final moves.
   */
  settle(request: {
    jobId: string;
    attempt: number;
    /** The attempt as it was taken: what no move changes need not be read again. */
    taken?: TakenJob;
    outcome: Outcome;
    now: number;
    retentionMs: number;
  }): Promise<Job | undefined>;
  /** Stores a progress value (JSON text) while the attempt runs. False when stale. */
  progress(jobId: string, attempt: number, output: string): Promise<boolean>;
  /** Appends a streamed value to the job's stream, unless it is there. False when stale. */
  appendChunk(jobId: string, attempt: number, value: StreamedValue): Promise<boolean>;
  /**
   * Chunks of an attempt after position `after` (0 for all), in order. Positions grow within a job; an
   * attempt's need not begin with 1.
   */
  readChunks(request: {
    jobId: string;
    attempt: number;
    after: number;
    limit: number;
  }): Promise<{ position: number; chunk: string }[]>;
  /**
   * The next chunks that no drain has returned yet; marks them as delivered. Runpod's `/stream`
   * gives every chunk once.
   */
  drainChunks(jobId: string, limit: number): Promise<string[]>;
  /** Renews leases of running attempts held by `workerId`; unknown ids are ignored. */
  renew(workerId: string, jobIds: readonly string[], leaseUntil: number): Promise<void>;
  /** IN_QUEUE or IN_PROGRESS → CANCELLED. Returns the job as it is now, undefined when unknown. */
  cancel(jobId: string, now: number, retentionMs: number): Promise<Job | undefined>;
  /** FAILED or TIMED_OUT → IN_QUEUE, output, error, chunks and failures cleared. Undefined when unknown; unchanged otherwise. */
  retry(jobId: string, now: number): Promise<{ job: Job; moved: boolean } | undefined>;
  /** Queued jobs of the endpoint that were accepted until `now` → CANCELLED, up to `limit`. Returns them. */
  purge(request: {
    endpointId: string;
    now: number;
    retentionMs: number;
    limit: number;
  }): Promise<Job[]>;
  get(jobId: string): Promise<Job | undefined>;
  /**
   * Newest first, without inputs and outputs: a page of them could be gigabytes. Of an error longer than
   * LIMITS.listedErrorLength there is one character more than that.
   */
  list(request: {
    endpointId: string;
    states?: readonly JobState[];
    /** Failed jobs too whose results are over. Default false. */
    kept?: boolean;
    offset: number;
    limit: number;
  }): Promise<{ jobs: Job[]; total: number }>;
  /** Of those that have failed for good, the ones that a filter means. Newest first, as {@link list}. */
  failed(
    request: FailedFilter & { endpointId: string; offset: number; limit: number },
  ): Promise<{ jobs: Job[]; total: number }>;
  /**
   * {@link retry} of many, up to `limit`: those that have failed until `before`. Returns them as they are
   * now.
   */
  redrive(
    request: FailedFilter & { endpointId: string; before: number; now: number; limit: number },
  ): Promise<Job[]>;
  counts(endpointId: string): Promise<JobCounts>;
  /**
   * For the scaler: an endpoint's jobs by release. `waiting` and `oldestAt` are about due jobs that are
   * not of low priority; `lowPriority` counts the due ones that are.
   */
  queue(
    endpointId: string,
    now: number,
  ): Promise<
    {
      releaseId: string;
      waiting: number;
      lowPriority: number;
      oldestAt: number;
      running: number;
    }[]
  >;
  /** The endpoints that have queued or running jobs. */
  busyEndpoints(): Promise<string[]>;
  /** Earliest `runAt` in the future over all queued jobs, to wake up for it. */
  nextRunAt(now: number): Promise<number | undefined>;
  /** Running jobs: all, of one worker, or those whose lease or execution time is over. */
  running(filter?: {
    workerId?: string;
    endpointId?: string;
    expiredAt?: number;
  }): Promise<TakenJob[]>;
  /** Jobs past their ttl that are not final → TIMED_OUT, up to `limit`. Returns them. */
  expire(now: number, limit: number): Promise<Job[]>;
  /**
   * Drops records whose `dropAt` is over, up to `limit`; failed ones are kept as `keep` says (default: not
   * at all), with a later `dropAt`. Returns how many there were.
   */
  drop(now: number, limit: number, keep?: KeepFailed): Promise<number>;
}

/** A final state that a job's webhook has not heard of yet. Written in the same step as the state. */
export interface WebhookRow {
  id: number;
  jobId: string;
  url: string;
  /** The job document as JSON text, as it was at the end. */
  body: string;
  /** Deliveries tried so far. */
  tries: number;
  createdAt: number;
}

export interface WebhookStore {
  /** Deliveries whose time has come, up to `limit`, oldest first. */
  due(now: number, limit: number): Promise<WebhookRow[]>;
  /** Earliest time of a waiting delivery, epoch ms. */
  nextAt(): Promise<number | undefined>;
  /** Delivered or given up: forgets it. */
  remove(id: number): Promise<void>;
  /** One more try has failed; the next one is at `nextAt`. */
  postpone(id: number, nextAt: number): Promise<void>;
}

export interface EndpointRow {
  id: string;
  app: string;
  environment: string;
  name: string;
  kind: "qb" | "lb";
  createdAt: number;
}

export interface ReleaseRow {
  id: string;
  /** 1, 2, 3 … within the environment. */
  version: number;
  app: string;
  environment: string;
  buildId: string;
  state: ReleaseState;
  createdAt: number;
}

export interface BuildRow {
  id: string;
  app: string;
  /** SHA-256 of the artifact, hex. */
  digest: string;
  bytes: number;
  /** Room that its files take on the disk. */
  unpackedBytes: number;
  manifest: Manifest;
  createdAt: number;
}

export interface AppRow {
  name: string;
  createdAt: number;
}

/** What one endpoint of a release runs from. */
export interface ReleaseEndpointRow {
  releaseId: string;
  name: string;
  /** The release that brought this version of the endpoint: what workers and waiting jobs are known by. */
  versionId: string;
  /** That release's build. */
  buildId: string;
}

export interface EnvironmentRow {
  app: string;
  name: string;
  activeReleaseId: string | null;
  createdAt: number;
}

export interface ControlStore {
  /** Registers an app. False when it is there already. */
  putApp(name: string, now: number): Promise<boolean>;
  listApps(): Promise<AppRow[]>;
  getApp(name: string): Promise<AppRow | undefined>;
  /** Removes an app with its environments and builds, and cancels its jobs. Undefined when unknown. */
  removeApp(
    name: string,
    now: number,
  ): Promise<{ endpoints: EndpointRow[]; environments: string[]; builds: string[] } | undefined>;
  /**
   * Adds the build, or returns the one with the same app and digest; the app is made when missing. A
   * build without a release is kept until `wantedUntil`; default 0, not at all.
   */
  putBuild(build: BuildRow, wantedUntil?: number): Promise<BuildRow>;
  /** Keeps a build that is there already until `wantedUntil` at least. False when it is gone. */
  wantBuild(id: string, wantedUntil: number): Promise<boolean>;
  getBuild(id: string): Promise<BuildRow | undefined>;
  /** Newest first. */
  listBuilds(app: string): Promise<BuildRow[]>;
  /** Ids of all builds of all apps. */
  buildIds(): Promise<string[]>;
  /** Releases that can come back, by the builds that they or their endpoints need. */
  releasesOfBuilds(app: string): Promise<{ buildId: string; release: ReleaseRow }[]>;
  /**
   * Keeps, for each environment, the newest `keepReleases` releases and those whose jobs are still
   * there; the others become REMOVED. Then removes the builds that no kept release refers to.
   */
  prune(request: {
    app?: string;
    keepReleases: number;
    now: number;
  }): Promise<{ releases: number; builds: { id: string; app: string; bytes: number }[] }>;
  /**
   * Makes a release of a build: creates app and environment when missing, keeps endpoint ids by
   * name, supersedes the active release. `proposeId` proposes ids for names that are new. An endpoint
   * goes on with the version of an earlier release when it has not changed, unless that one's build is
   * among `brokenBuilds`. The jobs of endpoints that the build leaves out are cancelled.
   */
  release(request: {
    id: string;
    app: string;
    environment: string;
    buildId: string;
    now: number;
    brokenBuilds?: readonly string[];
    proposeId: () => string;
  }): Promise<{ release: ReleaseRow; endpoints: EndpointRow[]; removed: EndpointRow[] }>;
  getRelease(id: string): Promise<ReleaseRow | undefined>;
  listReleases(app: string, environment: string): Promise<ReleaseRow[]>;
  /** What the endpoints of a release run from. */
  releaseEndpoints(releaseId: string): Promise<ReleaseEndpointRow[]>;
  /** Where a version of an endpoint is, as long as a release refers to it. */
  findVersion(versionId: string, name: string): Promise<ReleaseEndpointRow | undefined>;
  /** Adds an environment, and its app when missing. False when it is there already. */
  putEnvironment(app: string, name: string, now: number): Promise<boolean>;
  listEnvironments(app?: string): Promise<EnvironmentRow[]>;
  getEnvironment(app: string, name: string): Promise<EnvironmentRow | undefined>;
  getEndpoint(id: string): Promise<EndpointRow | undefined>;
  findEndpoint(app: string, environment: string, name: string): Promise<EndpointRow | undefined>;
  /** Endpoints of the active release, everywhere or of one environment. */
  listEndpoints(app?: string, environment?: string): Promise<EndpointRow[]>;
  /** Removes an endpoint and cancels its jobs. Returns false when unknown. */
  removeEndpoint(id: string, now: number): Promise<boolean>;
  /** Removes all endpoints and releases of an environment and cancels the jobs; it stays, and is empty. */
  clearEnvironment(app: string, name: string, now: number): Promise<boolean>;
  /** The same, and the environment itself. */
  removeEnvironment(app: string, name: string, now: number): Promise<boolean>;
  /** Cancels what jobs a removal has left behind that was cut short. */
  finishRemovals(now: number): Promise<void>;
  readSetting(key: string): Promise<string | undefined>;
  writeSetting(key: string, value: string): Promise<void>;
}

/** The key of a worker that somebody else starts. */
export interface WorkerKeyRow {
  workerId: string;
  endpointId: string;
  /** SHA-256 of the secret, base64: the secret itself is told once and kept nowhere. */
  digest: string;
  createdAt: number;
}

/** Keys go with their endpoint. */
export interface WorkerKeyStore {
  add(row: WorkerKeyRow): Promise<void>;
  /** Oldest first; of one endpoint, when it is given. */
  list(endpointId?: string): Promise<WorkerKeyRow[]>;
  /** False when there is none. */
  remove(workerId: string): Promise<boolean>;
}
