/**
 * The jobs room: the life of a job between its submission and its end. The store makes every move
 * atomic and durable; this room decides which move, and wakes whoever waits for it.
 *
 *   jobs             the verbs: submit, take, done, ping, cancel, …; recovery at the start
 *   requests         what it is asked and told: the types
 *   rules            pure decisions: policies, retries, retention, texts
 *   attempts         deadlines of running attempts: leases, execution timeouts
 *   polls            workers that wait for a job
 *   stops            telling workers which jobs to give up
 *   bells            requests that wait for a job's end or its next chunk
 *   batches          many requests under one id, a few at a time
 *   webhooks         telling others how a job ended; private-address: whom not to tell
 *   sweeper          what the passing of time does: ttl, retention, delayed starts
 *   chunks           stream chunks of a size that clients take
 *   listeners        who hears of queued, settled, overdue and lost jobs
 *   steady           wall time that never goes back
 *
 * Invariants:
 *   1. Memory holds only who waits, when to look, and copies of running attempts that save reading
 *      them; every move is judged by the store. Killing the process loses no job.
 *   2. Nothing is acknowledged, and nobody is woken with it, before the store has committed it.
 *      Polls are woken earlier only to look: their look is behind the write in the same group.
 *   3. Every word of a worker is checked against the attempt it holds; a stale one changes nothing.
 *   4. A job that was handed to nobody, because its poll was gone, goes back to its old place.
 */

import { sleep, type Clock } from "../../kit/clock.ts";
import { newJobId } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import type { Job, JobCounts } from "../../contract/job.ts";
import { LIMITS } from "../../contract/limits.ts";
import { retryWishOf } from "../../contract/retry-wish.ts";
import { isFinal } from "../../contract/states.ts";
import type { Outcome, Store, TakenJob } from "../../contract/store.ts";
import { Attempts, LEASE_MS, type Attempt } from "./attempts.ts";
import { Bells } from "./bells.ts";
import { Polls, type Poll } from "./polls.ts";
import { splitChunk } from "./chunks.ts";
import { Listeners } from "./listeners.ts";
import type {
  DoneBody,
  GoneCause,
  JobRequest,
  JobTarget,
  RetryRules,
  StreamAnswer,
  StreamPlace,
  TakeRequest,
  Verdict,
  WorkerWord,
} from "./requests.ts";
import * as rules from "./rules.ts";
import { Stops } from "./stops.ts";
import { steadyClock } from "./steady.ts";
import { Sweeper, type DueJobs } from "./sweeper.ts";
import { Webhooks } from "./webhooks.ts";

export type * from "./requests.ts";

export interface JobsOptions {
  store: Store;
  clock: Clock;
  log: Log;
  /** Undefined when the release or the endpoint is no longer there. */
  targetOf: (endpointId: string, releaseId: string) => Promise<RetryRules | undefined>;
  /** Lets webhooks reach loopback and private networks. Default false. */
  allowPrivateWebhooks?: boolean;
  /** Spreads delays; for tests. */
  random?: () => number;
}

/** Further polls of a draining worker are held this long: answered at once, they would spin. */
const DRAINED_HOLD_MS = 200;
/** Chunks in one answer of a stream. */
const CHUNKS_AT_ONCE = 100;
/** The stream of a cancelled job answers this long; then 404, the only end the Python client knows. */
const CANCELLED_STREAM_MS = 10_000;
/** Who waits looks again this often: control removes endpoints, and their jobs, behind this room's back. */
const LOOK_AGAIN_MS = 5000;
const PURGE_STEP = 500;
/** A move that the store refused is tried again after this. */
const INSIST_MS = 1000;

export class Jobs {
  readonly #options: JobsOptions;
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #polls: Polls;
  readonly #stops: Stops;
  readonly #attempts: Attempts;
  readonly #webhooks: Webhooks;
  readonly #sweeper: Sweeper;
  /** Rung with the final job. */
  readonly #ends: Bells<Job>;
  /** Rung when a chunk came or the job ended. */
  readonly #chunks: Bells;
  readonly #cancels = new Map<string, Promise<Job | undefined>>();
  /** By worker, bytes. */
  readonly #peakMemory = new Map<string, number>();
  readonly #background = new Set<Promise<void>>();
  readonly #onQueued = new Listeners<string>();
  readonly #onSettled = new Listeners<Job>();
  readonly #onOverdue = new Listeners<TakenJob>();
  readonly #onLost = new Listeners<TakenJob>();
  readonly #onStopPod = new Listeners<string>();
  readonly #onDeaf = new Listeners<string>();
  #isClosed = false;

  constructor(options: JobsOptions) {
    const { store, log } = options;
    const clock = steadyClock(options.clock);
    this.#options = options;
    this.#store = store;
    this.#clock = clock;
    this.#polls = new Polls(clock);
    this.#stops = new Stops(clock);
    this.#ends = new Bells(clock);
    this.#chunks = new Bells(clock);
    this.#attempts = new Attempts(clock, (attempt, why) => this.#attemptOver(attempt, why));
    const allowPrivate = options.allowPrivateWebhooks ?? false;
    this.#webhooks = new Webhooks({ store, clock, log, allowPrivate });
    this.#sweeper = new Sweeper({
      store,
      clock,
      log,
      onExpired: (job) => this.#expired(job),
      onDue: (due) => this.#becameDue(due),
    });
  }

  /**
   * Recovery, then timers. Running attempts of workers that are not in `livingWorkers` (default: none
   * lives) go back to their places in the queue; it was not the job's fault.
   */
  async start({ livingWorkers }: { livingWorkers?: ReadonlySet<string> } = {}): Promise<void> {
    const running = await this.#store.jobs.running();
    const orphans = running.filter(({ workerId }) => livingWorkers?.has(workerId) !== true);
    for (const job of running) {
      if (!orphans.includes(job)) {
        // The wall clock may have been set back meanwhile; that must not make an attempt longer.
        this.#attempts.add(job, Math.max(0, this.#now() - (job.startedAt ?? this.#now())));
      }
    }
    await this.putBack(orphans);
    await this.#sweeper.start();
    this.#webhooks.kick();
  }

  /** Ends every wait; what was under way is committed or will be found by the next start. Idempotent. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#polls.close();
    this.#stops.close();
    this.#attempts.close();
    this.#ends.ringAll();
    this.#chunks.ringAll();
    await this.#sweeper.close();
    await this.#webhooks.close();
    await Promise.all(this.#background);
  }

  /** From then on nothing is held: every wait ends at once. */
  get isClosed(): boolean {
    return this.#isClosed;
  }

  // --- what clients do

  /** Accepts a job. Throws `NOT_ACCEPTED` for a wrong policy or webhook, `STORAGE_FULL`, `UNAVAILABLE`. */
  submit(target: JobTarget, request: JobRequest, via: "run" | "runsync"): Promise<Job> {
    return this.#submit(newJobId(via), via, { target, request });
  }

  /**
   * {@link submit} for `/runsync`, then {@link waitFinal}. `signal` is asked for when the job takes long:
   * most do not, and to listen to one costs more than to wait a little for nobody.
   */
  async submitAndWait(
    target: JobTarget,
    request: JobRequest,
    { waitMs, signal }: { waitMs: number; signal: () => AbortSignal },
  ): Promise<Job> {
    const id = newJobId("runsync");
    const endsAt = this.#clock.elapsed() + waitMs;
    const left = (): number => endsAt - this.#clock.elapsed();
    // Hung before the job is there: its end is not missed, and the record need not be read.
    const bell = this.#ends.hang(id, waitMs);
    try {
      const job = await this.#submit(id, "runsync", { target, request });
      if (job.id === id) await bell.wait(Math.min(left(), LOOK_AGAIN_MS));
      return bell.value ?? (await this.waitFinal(job.id, left(), signal())) ?? job;
    } finally {
      bell.close();
    }
  }

  /** {@link submit} under an id of the caller's, which no other job has. */
  submitAs(id: string, target: JobTarget, request: JobRequest): Promise<Job> {
    return this.#submit(id, "run", { target, request });
  }

  async #submit(
    id: string,
    via: "run" | "runsync",
    { target, request }: { target: JobTarget; request: JobRequest },
  ): Promise<Job> {
    const now = this.#now();
    const policy = rules.readPolicy(target, request.policy);
    const runAt = rules.readRunAt(request, now, policy.ttlMs);
    const { endpointId, releaseId } = target;
    const submitted = this.#store.jobs.submit([
      {
        id,
        endpointId,
        releaseId,
        via,
        input: request.inputText ?? JSON.stringify(request.input ?? null),
        policy,
        webhook: rules.readWebhook(request.webhook, this.#options.allowPrivateWebhooks ?? false),
        extra: request.extra === undefined ? null : JSON.stringify(request.extra),
        runAt,
        createdAt: now,
        idempotencyKey: request.idempotencyKey ?? null,
      },
    ]);
    // The poll's look joins the submission's transaction: one flush for both. See invariant 2.
    if (runAt <= now) this.#polls.ring(endpointId, releaseId);
    const [job] = await submitted;
    if (job === undefined) throw new Error("the store accepted no job");
    if (job.id === id) this.#queued(job);
    return job;
  }

  /** The job, until its retention is over. */
  async get(id: string): Promise<Job | undefined> {
    const job = await this.#store.jobs.get(id);
    return job === undefined || this.#isGone(job) ? undefined : job;
  }

  counts(endpointId: string): Promise<JobCounts> {
    return this.#store.jobs.counts(endpointId);
  }

  /** A page of an endpoint's jobs, newest first, without inputs and outputs. */
  list(request: Parameters<Store["jobs"]["list"]>[0]): ReturnType<Store["jobs"]["list"]> {
    return this.#store.jobs.list(request);
  }

  /** The job once it is final, or as it is when the wait ends first. */
  async waitFinal(id: string, waitMs: number, signal?: AbortSignal): Promise<Job | undefined> {
    const endsAt = this.#clock.elapsed() + waitMs;
    const bell = this.#ends.hang(id, waitMs);
    try {
      for (;;) {
        const job = bell.value ?? (await this.get(id));
        const left = endsAt - this.#clock.elapsed();
        const isOver = left <= 0 || signal?.aborted === true || this.#isClosed;
        if (job === undefined || isFinal(job.state) || isOver) return job;
        await bell.wait(Math.min(left, LOOK_AGAIN_MS), signal);
      }
    } finally {
      bell.close();
    }
  }

  /** Chunks that nobody has read yet; waits for one, or for the end. Undefined for an unknown job. */
  async stream(
    id: string,
    { waitMs, signal }: { waitMs: number; signal?: AbortSignal },
  ): Promise<StreamAnswer | undefined> {
    const endsAt = this.#clock.elapsed() + waitMs;
    const bell = this.#chunks.hang(id);
    try {
      for (;;) {
        // The state first: a final one then has every chunk behind it.
        const job = await this.get(id);
        if (job === undefined || this.#isLongCancelled(job)) return undefined;
        const chunks = await this.#store.jobs.drainChunks(id, CHUNKS_AT_ONCE);
        const left = endsAt - this.#clock.elapsed();
        const isOver = left <= 0 || signal?.aborted === true || this.#isClosed;
        if (chunks.length > 0 || isFinal(job.state) || isOver) {
          return await this.#streamAnswer(job, chunks);
        }
        await bell.wait(Math.min(left, LOOK_AGAIN_MS), signal);
      }
    } finally {
      bell.close();
    }
  }

  /**
   * Chunks of the running or last attempt behind a reader's place, for any number of readers; waits for
   * one, or for the end. Undefined for an unknown job, and when the room closes.
   */
  async read(
    id: string,
    place: StreamPlace,
    { waitMs, signal }: { waitMs: number; signal?: AbortSignal },
  ): Promise<{ job: Job; chunks: { position: number; chunk: string }[] } | undefined> {
    const endsAt = this.#clock.elapsed() + waitMs;
    const bell = this.#chunks.hang(id);
    try {
      while (!this.#isClosed) {
        // The state first: a final one then has every chunk behind it.
        const job = await this.get(id);
        if (job === undefined) return undefined;
        const after = place.attempt === job.attempt ? place.position : 0;
        const { attempt } = job;
        const request = { jobId: id, attempt, after, limit: CHUNKS_AT_ONCE };
        const chunks = await this.#store.jobs.readChunks(request);
        const left = endsAt - this.#clock.elapsed();
        const isOver = left <= 0 || signal?.aborted === true || isFinal(job.state);
        if (chunks.length > 0 || isOver) return { job, chunks };
        await bell.wait(Math.min(left, LOOK_AGAIN_MS), signal);
      }
      return undefined;
    } finally {
      bell.close();
    }
  }

  /** Queued and running jobs become CANCELLED at once, final ones stay. Undefined for an unknown job. */
  cancel(id: string): Promise<Job | undefined> {
    const known = this.#cancels.get(id);
    if (known !== undefined) return known;
    const cancelling = this.#cancel(id).finally(() => this.#cancels.delete(id));
    this.#cancels.set(id, cancelling);
    return cancelling;
  }

  /** From FAILED or TIMED_OUT back into the queue. Undefined for an unknown job. */
  async retry(id: string): Promise<{ job: Job; moved: boolean } | undefined> {
    const job = await this.get(id);
    if (job === undefined) return undefined;
    const retrying = this.#store.jobs.retry(id, this.#now());
    this.#polls.ring(job.endpointId, job.releaseId);
    const result = await retrying;
    if (result?.moved === true) this.#queued(result.job);
    return result;
  }

  /** Cancels what waits in the endpoint's queue. Returns how many. */
  async purge(endpointId: string): Promise<number> {
    const request = {
      endpointId,
      now: this.#now(),
      retentionMs: LIMITS.retentionRunMs,
      limit: PURGE_STEP,
    };
    for (let removed = 0; ;) {
      const jobs = await this.#store.jobs.purge(request);
      for (const job of jobs) this.#settled(job);
      removed += jobs.length;
      if (jobs.length < PURGE_STEP) return removed;
    }
  }

  /** Cancels everything of an endpoint that is about to be removed, running jobs included. */
  async cancelAll(endpointId: string): Promise<void> {
    await this.purge(endpointId);
    const running = await this.#store.jobs.running({ endpointId });
    await Promise.all(running.map(({ id }) => this.cancel(id)));
  }

  // --- what workers do

  /**
   * Long poll for jobs. Each returned job is an attempt that runs from now on; a caller that cannot
   * deliver it gives it back with {@link putBack}.
   */
  async take(request: TakeRequest): Promise<TakenJob[]> {
    const wasDraining = this.#polls.isDraining(request.workerId);
    const holdMs = wasDraining ? Math.min(request.holdMs, DRAINED_HOLD_MS) : request.holdMs;
    const endsAt = this.#clock.elapsed() + holdMs;
    if (wasDraining) {
      await sleep(this.#clock, holdMs, request.signal).catch(() => undefined);
      return [];
    }
    return this.#polls.during(request, async (poll) => {
      while (!poll.isClosed) {
        poll.answerRing();
        const jobs = await this.#takeNow(request, poll);
        const left = endsAt - this.#clock.elapsed();
        if (jobs.length > 0 || left <= 0) return jobs;
        await poll.wait(left);
      }
      return [];
    });
  }

  /** Takes back jobs that did not reach their worker. They keep their place; nothing counts as failed. */
  async putBack(jobs: readonly Job[]): Promise<void> {
    const outcome = { kind: "requeued", blameless: true } as const;
    await Promise.all(
      jobs.map((job) => this.#insist(() => this.#settle(job, { ...outcome, runAt: job.runAt }))),
    );
  }

  /** A worker is back and says what it holds: whatever else it was given has never reached it. */
  async resume(workerId: string, held: readonly string[]): Promise<void> {
    const running = await this.#store.jobs.running({ workerId });
    await this.putBack(running.filter(({ id }) => !held.includes(id)));
  }

  /** A result, an error or a progress update. */
  async done(word: WorkerWord & { body: DoneBody }): Promise<Verdict> {
    const { body, workerId } = word;
    const job = await this.#heldJob(word);
    try {
      if (job === undefined) return "stale";
      if (body.status === "IN_PROGRESS") return await this.#progress(job, body);
      const settled = await this.#settle(job, await this.#outcomeOf(job, body));
      return settled === undefined ? "stale" : "accepted";
    } finally {
      if (body.stopPod === true) {
        this.drainWorker(workerId);
        this.#onStopPod.emit(workerId);
      }
    }
  }

  /** One value of a generator. Texts over the limit of a chunk arrive as several. */
  async chunk(word: WorkerWord & { output: unknown; outputText?: string }): Promise<Verdict> {
    const job = await this.#heldJob(word);
    if (job === undefined) return "stale";
    const pieces = splitChunk(word.output, word.outputText);
    const appended = await Promise.all(
      pieces.map((piece) => this.#store.jobs.appendChunk(job.id, job.attempt, piece)),
    );
    if (!appended.every(Boolean)) return "stale";
    this.#chunks.ring(job.id);
    return "accepted";
  }

  /** A sign of life with the jobs the worker says it holds; undefined when it does not say. */
  async ping(workerId: string, endpointId: string, jobIds: string[] | undefined): Promise<void> {
    const ignored = this.#stops.pinged(workerId, jobIds ?? []);
    if (ignored.length > 0) this.#onDeaf.emit(workerId);
    const { lost, renewed, unknown } = this.#attempts.ping(workerId, jobIds);
    await Promise.all([
      this.#store.jobs.renew(workerId, renewed, this.#now() + LEASE_MS),
      ...lost.map((attempt) => this.#dropped(attempt)),
      ...unknown.map((id) => this.#strayJob(id, workerId, endpointId)),
    ]);
  }

  /** The worker names all its jobs with every ping; others are believed to only once they have named one. */
  listsAll(workerId: string): void {
    this.#attempts.listsAll(workerId);
  }

  /** The most memory a worker has used so far: it cannot be asked when it is dead. */
  notePeakMemory(workerId: string, bytes: number): void {
    this.#peakMemory.set(workerId, bytes);
  }

  /** Long poll: jobs that this worker should stop. */
  stopsFor(workerId: string, holdMs: number, signal?: AbortSignal): Promise<string[]> {
    return this.#stops.next(workerId, holdMs, signal);
  }

  /** The worker is gone: its jobs go back to the queue once more, or fail with the cause. */
  async workerGone(workerId: string, cause: GoneCause): Promise<void> {
    const peakMemoryBytes = this.#peakMemory.get(workerId);
    const known = peakMemoryBytes === undefined ? {} : { peakMemoryBytes };
    const text = rules.describeGone(workerId, { ...cause, ...known });
    const held = await this.#store.jobs.running({ workerId });
    await Promise.all(held.map((job) => this.#insist(() => this.#loseJob(job, text))));
    this.#stops.forgetWorker(workerId);
    this.#attempts.forgetWorker(workerId);
    this.#polls.forget(workerId);
    this.#peakMemory.delete(workerId);
  }

  /** Open polls of this worker are answered at once with nothing, further ones too. */
  drainWorker(workerId: string): void {
    this.#polls.drain(workerId);
    this.#stops.release(workerId);
  }

  // --- what others hear

  /** Submitted, requeued, or newly due. Each of these returns a function that ends it. */
  onQueued(listener: (endpointId: string) => void): () => void {
    return this.#onQueued.add(listener);
  }

  onSettled(listener: (job: Job) => void): () => void {
    return this.#onSettled.add(listener);
  }

  /** The execution timeout was reached: the job is FAILED already, its worker should be ended. */
  onOverdue(listener: (job: TakenJob) => void): () => void {
    return this.#onOverdue.add(listener);
  }

  /** The attempt's worker fell silent; the job went back to the queue or failed. */
  onLost(listener: (job: TakenJob) => void): () => void {
    return this.#onLost.add(listener);
  }

  /** The worker asked to be replaced. It gets no further job. */
  onStopPod(listener: (workerId: string) => void): () => void {
    return this.#onStopPod.add(listener);
  }

  /** The worker goes on with a job that it was told to stop; nothing but its end will stop it. */
  onDeaf(listener: (workerId: string) => void): () => void {
    return this.#onDeaf.add(listener);
  }

  // --- moves

  async #cancel(id: string): Promise<Job | undefined> {
    const before = await this.get(id);
    if (before === undefined || isFinal(before.state)) return before;
    const job = await this.#store.jobs.cancel(id, this.#now(), this.#retentionOf(before));
    if (job?.state !== "CANCELLED") return job;
    // Taken between the look and the move or not: the record says whether a worker has it.
    if (job.workerId !== null) this.#stops.add(job.workerId, id);
    this.#settled(job);
    return job;
  }

  async #takeNow(request: TakeRequest, poll: Poll): Promise<TakenJob[]> {
    const { endpointId, releaseId, workerId, limit } = request;
    const now = this.#now();
    const jobs = await this.#store.jobs.take({
      endpointId,
      ...(releaseId === undefined ? {} : { releaseId }),
      workerId,
      limit,
      now,
      leaseUntil: now + LEASE_MS,
    });
    for (const job of jobs) {
      this.#stops.remove(workerId, job.id);
      this.#attempts.add(job);
    }
    if (jobs.length === 0 || !poll.isClosed) return jobs;
    await this.putBack(jobs);
    return [];
  }

  /** Every end and every requeue of an attempt goes through here. Undefined when it was stale. */
  async #settle(job: Job, outcome: Outcome): Promise<Job | undefined> {
    const now = this.#now();
    const taken = this.#attempts.taken(job.id);
    const settling = this.#store.jobs.settle({
      jobId: job.id,
      attempt: job.attempt,
      ...(taken?.attempt === job.attempt ? { taken } : {}),
      outcome,
      now,
      retentionMs: this.#retentionOf(job),
    });
    if (outcome.kind === "requeued" && outcome.runAt <= now) {
      this.#polls.ring(job.endpointId, job.releaseId);
    }
    const settled = await settling;
    this.#attempts.remove(job.id, job.attempt);
    if (settled === undefined) return undefined;
    if (settled.state === "IN_QUEUE") this.#queued(settled);
    else this.#settled(settled);
    return settled;
  }

  async #outcomeOf(job: Job, body: DoneBody): Promise<Outcome> {
    const output = body.outputText ?? JSON.stringify(body.output) ?? null;
    const maxBytes = job.via === "run" ? LIMITS.runBodyBytes : LIMITS.runsyncBodyBytes;
    if (output !== null && output.length > maxBytes / 4 && Buffer.byteLength(output) > maxBytes) {
      const error = `the output of ${Buffer.byteLength(output)} bytes is over the limit of ${maxBytes} bytes`;
      return { kind: "failed", error, output: null };
    }
    const isError = body.error !== undefined && body.error !== null && body.error !== "";
    if (!isError) return { kind: "completed", output };
    const random = this.#options.random ?? Math.random;
    return rules.afterError(job, await this.#rulesOf(job), {
      error: rules.errorText(body.error),
      output,
      wish: retryWishOf(body),
      now: this.#now(),
      random: random(),
    });
  }

  async #progress(job: Job, body: DoneBody): Promise<Verdict> {
    const output = body.outputText ?? JSON.stringify(body.output) ?? "null";
    const isRunning = await this.#store.jobs.progress(job.id, job.attempt, output);
    return isRunning ? "accepted" : "stale";
  }

  /** The job a worker speaks about, if it holds it in the attempt it names. */
  async #heldJob({ jobId, workerId, attempt }: WorkerWord): Promise<Job | undefined> {
    // What memory has may be out of date, but then the store refuses the move that follows.
    const job = this.#attempts.taken(jobId) ?? (await this.#store.jobs.get(jobId));
    const isHeld =
      job?.state === "IN_PROGRESS" &&
      job.workerId === workerId &&
      (attempt === undefined || attempt === job.attempt);
    return isHeld ? job : undefined;
  }

  /** A worker lists a job that is not among its known attempts. */
  async #strayJob(id: string, workerId: string, endpointId: string): Promise<void> {
    const job = await this.#heldJob({ jobId: id, workerId });
    if (job === undefined || job.endpointId !== endpointId) this.#stops.add(workerId, id);
  }

  #attemptOver(attempt: Attempt, why: "lease" | "time"): void {
    this.#inBackground(() => (why === "time" ? this.#overdue(attempt) : this.#fellSilent(attempt)));
  }

  async #overdue({ jobId, workerId, attempt }: Attempt): Promise<void> {
    const job = await this.#heldJob({ jobId, workerId, attempt });
    if (job === undefined) return;
    const error = rules.describeOverdue(job);
    const settled = await this.#settle(job, { kind: "failed", error, output: null });
    if (settled === undefined) return;
    this.#stops.add(workerId, jobId);
    this.#onOverdue.emit(job as TakenJob);
  }

  /** The worker gave no sign of life for a lease. */
  async #fellSilent({ jobId, workerId, attempt }: Attempt): Promise<void> {
    const job = await this.#heldJob({ jobId, workerId, attempt });
    if (job === undefined) return;
    const cause = `worker ${workerId} gave no sign of life for ${LEASE_MS / 1000} s`;
    if ((await this.#loseJob(job, cause)) === undefined) return;
    this.#stops.add(workerId, jobId);
    this.#onLost.emit(job as TakenJob);
  }

  /** The worker lives, but the job is lost inside it: its result could not be posted, or it gave up. */
  async #dropped({ jobId, workerId, attempt }: Attempt): Promise<void> {
    const job = await this.#heldJob({ jobId, workerId, attempt });
    if (job !== undefined) await this.#loseJob(job, `worker ${workerId} dropped the job`);
  }

  async #loseJob(job: Job, cause: string): Promise<Job | undefined> {
    return this.#settle(job, rules.afterLoss(job, await this.#rulesOf(job), cause));
  }

  #expired(job: Job): void {
    if (job.workerId !== null) this.#stops.add(job.workerId, job.id);
    this.#attempts.remove(job.id, job.attempt);
    this.#settled(job);
  }

  // --- wake-ups

  #queued(job: Job): void {
    if (job.runAt > this.#now()) this.#sweeper.wakeAt(job.runAt);
    else this.#onQueued.emit(job.endpointId);
  }

  #becameDue({ endpointId, releaseId, jobs }: DueJobs): void {
    for (let left = jobs; left > 0 && this.#polls.ring(endpointId, releaseId); left--);
    this.#onQueued.emit(endpointId);
  }

  #settled(job: Job): void {
    this.#attempts.remove(job.id, job.attempt);
    this.#ends.ring(job.id, job);
    this.#chunks.ring(job.id);
    if (job.webhook !== null) this.#webhooks.kick();
    this.#onSettled.emit(job);
  }

  #inBackground(work: () => Promise<unknown>): void {
    const guarded = this.#insist(work).finally(() => this.#background.delete(guarded));
    this.#background.add(guarded);
  }

  /** For moves that nobody else will ask for again: a full disk only puts them off. */
  async #insist(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#options.log.error("a job could not be moved yet", { error: String(error) });
      if (this.#isClosed) return;
      this.#clock.after(INSIST_MS, () => this.#inBackground(work));
    }
  }

  // --- small questions

  #now(): number {
    return this.#clock.now();
  }

  #isGone(job: Job): boolean {
    return job.dropAt !== null && job.dropAt <= this.#now();
  }

  #isLongCancelled(job: Job): boolean {
    const since = this.#now() - (job.finishedAt ?? this.#now());
    return job.state === "CANCELLED" && since > CANCELLED_STREAM_MS;
  }

  #retentionOf(job: Job): number {
    return rules.retentionMs(job.via, this.#ends.patience(job.id));
  }

  #rulesOf(job: Job): Promise<RetryRules | undefined> {
    return this.#options.targetOf(job.endpointId, job.releaseId);
  }

  async #streamAnswer(job: Job, chunks: readonly string[]): Promise<StreamAnswer> {
    // Clients stop at a final status, so it may only come with the last chunk.
    const mayHaveMore = isFinal(job.state) && chunks.length > 0;
    const more = mayHaveMore ? await this.#store.jobs.drainChunks(job.id, 1) : [];
    return {
      status: more.length > 0 ? "IN_PROGRESS" : job.state,
      chunks: [...chunks, ...more],
    };
  }
}
