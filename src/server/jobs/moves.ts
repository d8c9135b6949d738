/**
 * The moves of a job: every change of its state goes through here, whoever asks for it. The store
 * makes the move; this wakes those who wait for it, and ends what has become pointless.
 */

import type { Log } from "../../kit/log.ts";
import type { Job, NewJob } from "../../contract/job.ts";
import { LIMITS } from "../../contract/limits.ts";
import { isFinal } from "../../contract/states.ts";
import type { FailedFilter, KeepFailed, Outcome, Store, TakenJob } from "../../contract/store.ts";
import { Attempts, LEASE_MS, type Attempt, type Over } from "./attempts.ts";
import { Bells } from "./bells.ts";
import * as failures from "./failures.ts";
import { Listeners } from "./listeners.ts";
import { Polls, type Poll } from "./polls.ts";
import type { RetryRules, TakeRequest, WorkerWord } from "./requests.ts";
import * as rules from "./rules.ts";
import type { SteadyClock } from "./steady.ts";
import { Stops } from "./stops.ts";
import { Sweeper, type DueJobs } from "./sweeper.ts";
import { Webhooks } from "./webhooks.ts";

export interface MovesOptions {
  store: Store;
  clock: SteadyClock;
  log: Log;
  /** Undefined when the release or the endpoint is no longer there. */
  targetOf: (endpointId: string, releaseId: string) => Promise<RetryRules | undefined>;
  /** Lets webhooks reach loopback and private networks. */
  allowPrivateWebhooks: boolean;
  keepFailed: KeepFailed;
}

/** An attempt that is over; without an `error` it was the job's last. */
export interface AttemptEnd {
  job: Job;
  error?: string;
}

/** `kept`: a failed job is meant, too, whose result is over. Default false. */
export interface Asked {
  kept?: boolean;
}

/** Jobs that are moved together, when many are. */
const STEP = 500;
/** A move that the store refused is tried again after this. */
const INSIST_MS = 1000;

export class Moves {
  readonly polls: Polls;
  readonly stops: Stops;
  readonly attempts: Attempts;
  /** Rung with the final job. */
  readonly ends: Bells<Job>;
  /** Rung when a chunk came or the job ended. */
  readonly chunks: Bells;
  readonly onQueued = new Listeners<string>();
  readonly onSettled = new Listeners<Job>();
  readonly onAttempt = new Listeners<AttemptEnd>();
  readonly onOverdue = new Listeners<TakenJob>();
  readonly onLost = new Listeners<TakenJob>();
  readonly #options: MovesOptions;
  readonly #store: Store;
  readonly #clock: SteadyClock;
  readonly #webhooks: Webhooks;
  readonly #sweeper: Sweeper;
  readonly #cancels = new Map<string, Promise<Job | undefined>>();
  readonly #background = new Set<Promise<void>>();
  /** Since this start there has been a job that runs alone on its worker. */
  #hasAlone = false;
  #isClosed = false;

  constructor(options: MovesOptions) {
    const { store, clock, log, allowPrivateWebhooks: allowPrivate } = options;
    this.#options = options;
    this.#store = store;
    this.#clock = clock;
    this.polls = new Polls(clock);
    this.stops = new Stops(clock);
    this.ends = new Bells(clock);
    this.chunks = new Bells(clock);
    this.attempts = new Attempts(clock, (attempt, why) => this.#attemptOver(attempt, why));
    this.#webhooks = new Webhooks({ store, clock, log, allowPrivate });
    this.#sweeper = new Sweeper({
      store,
      clock,
      log,
      keepFailed: options.keepFailed,
      onExpired: (job) => this.#expired(job),
      onDue: (due) => this.#becameDue(due),
    });
  }

  /** Recovery, then timers. */
  async start(livingWorkers: ReadonlySet<string> | undefined): Promise<void> {
    const latestAt = await this.#store.jobs.latestAt();
    if (latestAt !== undefined) this.#clock.resume(latestAt);
    await this.#store.jobs.begin(this.#now());
    this.#hasAlone = await this.#store.jobs.hasAlone();
    const running = await this.#store.jobs.running();
    const orphans = running.filter(({ workerId }) => livingWorkers?.has(workerId) !== true);
    for (const job of running) {
      if (!orphans.includes(job)) {
        // The wall clock may have been set back meanwhile; that must not make an attempt longer.
        this.attempts.add(job, Math.max(0, this.#now() - (job.startedAt ?? this.#now())));
      }
    }
    await this.putBack(orphans);
    await this.#sweeper.start();
    this.#webhooks.kick();
  }

  /** Ends every wait. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.polls.close();
    this.stops.close();
    this.attempts.close();
    this.ends.ringAll();
    this.chunks.ringAll();
    await this.#sweeper.close();
    await this.#webhooks.close();
    await Promise.all(this.#background);
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  /** Undefined for an unknown job, and for one whose retention is over, unless it is `kept`. */
  async get(id: string, { kept = false }: Asked = {}): Promise<Job | undefined> {
    const job = await this.#store.jobs.get(id);
    const isGone = job?.dropAt != null && job.dropAt <= this.#now();
    return isGone || (job?.isKept === true && !kept) ? undefined : job;
  }

  // --- into the queue and out of it

  submit(request: NewJob, options?: { isWaited?: boolean }): Promise<Job> {
    const { id, endpointId, releaseId, runAt, createdAt } = request;
    const submitted = this.#store.jobs.submit([request], options);
    // The poll's look joins the submission's transaction: one flush for both. See invariant 2.
    if (runAt <= createdAt) this.polls.ring(endpointId, releaseId);
    return submitted.then(([job]) => {
      if (job === undefined) throw new Error("the store accepted no job");
      if (job.id === id) this.#queued(job);
      return job;
    });
  }

  take(request: TakeRequest, poll: Poll): Promise<TakenJob[]> {
    const { endpointId, releaseId, workerId, isLocal = false, limit } = request;
    const isIdle = this.attempts.heldBy(workerId) === 0;
    if (!isIdle && this.attempts.isAlone(workerId)) {
      poll.deafen();
      return Promise.resolve([]);
    }
    const now = this.#now();
    const taking = this.#store.jobs.take({
      endpointId,
      ...(releaseId === undefined ? {} : { releaseId }),
      workerId,
      isIdle,
      isLocal,
      limit,
      now,
      leaseUntil: now + LEASE_MS,
    });
    return taking.then((jobs) => {
      // Until now busy workers may have waited for it to be taken.
      if (jobs[0] != null && jobs[0].aloneSince !== null) this.polls.ringAll(endpointId);
      for (const job of jobs) {
        this.stops.remove(workerId, job.id);
        this.attempts.add(job);
      }
      return jobs.length === 0 || !poll.isClosed ? jobs : this.putBack(jobs).then(() => []);
    });
  }

  /** They keep their place; nothing counts as failed. */
  async putBack(jobs: readonly Job[]): Promise<void> {
    const outcome = { kind: "requeued", blameless: true } as const;
    await Promise.all(
      jobs.map((job) => this.insist(() => this.settle(job, { ...outcome, runAt: job.runAt }))),
    );
  }

  /** Every end and every requeue of an attempt goes through here. Undefined when it was stale. */
  settle(job: Job, outcome: Outcome): Promise<Job | undefined> {
    const now = this.#now();
    const taken = this.attempts.taken(job.id);
    const settling = this.#store.jobs.settle({
      jobId: job.id,
      attempt: job.attempt,
      ...(taken?.attempt === job.attempt ? { taken } : {}),
      outcome,
      now,
      retentionMs: this.#retentionOf(job),
    });
    if (outcome.kind === "requeued" && outcome.runAt <= now) {
      this.polls.ring(job.endpointId, job.releaseId);
    }
    this.#freeKey(job);
    return settling.then((settled) => {
      this.#release(job);
      if (settled !== undefined) this.#tellAttempt(job, outcome, now);
      if (settled?.state === "IN_QUEUE") this.#queued(settled);
      else if (settled !== undefined) this.#settled(settled);
      return settled;
    });
  }

  /** The attempt's worker was lost under it. Undefined when it was stale. */
  async lose(job: Job, loss: failures.Loss): Promise<Job | undefined> {
    const settled = await this.settle(job, failures.afterLoss(job, await this.rulesOf(job), loss));
    if (settled?.state === "IN_QUEUE" && settled.aloneSince !== null) {
      // Only a worker that is idle may take it, and nobody knows whose poll that is.
      this.#hasAlone = true;
      this.polls.ringAll(job.endpointId);
    }
    return settled;
  }

  async drop({ jobId, workerId, attempt }: Attempt): Promise<void> {
    const job = await this.heldJob({ jobId, workerId, attempt });
    if (job !== undefined) await this.lose(job, failures.lossByDrop(workerId, this.#now()));
  }

  cancel(id: string): Promise<Job | undefined> {
    const known = this.#cancels.get(id);
    if (known !== undefined) return known;
    const cancelling = this.#cancel(id).finally(() => this.#cancels.delete(id));
    this.#cancels.set(id, cancelling);
    return cancelling;
  }

  async #cancel(id: string): Promise<Job | undefined> {
    const before = await this.get(id);
    if (before === undefined || isFinal(before.state)) return before;
    const job = await this.#store.jobs.cancel(id, this.#now(), this.#retentionOf(before));
    if (job?.state !== "CANCELLED") return job;
    // Taken between the look and the move or not: the record says whether a worker has it.
    if (job.workerId !== null) this.stops.add(job.workerId, id);
    this.#freeKey(job);
    this.#tellAttempt(job, { kind: "failed", error: "cancelled", output: null });
    this.#settled(job);
    return job;
  }

  async retry(id: string, asked?: Asked): Promise<{ job: Job; moved: boolean } | undefined> {
    const job = await this.get(id, asked);
    if (job === undefined) return undefined;
    const retrying = this.#store.jobs.retry(id, this.#now());
    this.polls.ring(job.endpointId, job.releaseId);
    const result = await retrying;
    if (result?.moved === true) this.#queued(result.job);
    return result;
  }

  async redrive(endpointId: string, filter: FailedFilter): Promise<number> {
    const before = this.#now();
    for (let moved = 0; ;) {
      const request = { ...filter, endpointId, before, now: this.#now(), limit: STEP };
      const jobs = await this.#store.jobs.redrive(request);
      for (const job of jobs) {
        this.polls.ring(endpointId, job.releaseId);
        this.#queued(job);
      }
      moved += jobs.length;
      if (jobs.length < STEP) return moved;
    }
  }

  async purge(endpointId: string): Promise<number> {
    const request = {
      endpointId,
      now: this.#now(),
      retentionMs: LIMITS.retentionRunMs,
      limit: STEP,
    };
    for (let removed = 0; ;) {
      const jobs = await this.#store.jobs.purge(request);
      for (const job of jobs) this.#settled(job);
      removed += jobs.length;
      if (jobs.length < STEP) return removed;
    }
  }

  // --- questions

  /** The job a worker speaks about, if it holds it in the attempt it names. */
  async heldJob(word: WorkerWord): Promise<Job | undefined> {
    const { jobId } = word;
    // What memory has may be out of date, but then the store refuses the move that follows.
    const job = this.attempts.taken(jobId) ?? (await this.#store.jobs.get(jobId));
    return job !== undefined && isHeld(job, word) ? job : undefined;
  }

  /** {@link heldJob}, if memory has it, as it nearly always does. */
  heldAttempt(word: WorkerWord): Job | undefined {
    const job = this.attempts.taken(word.jobId);
    return job !== undefined && isHeld(job, word) ? job : undefined;
  }

  rulesOf(job: Job): Promise<RetryRules | undefined> {
    return this.#options.targetOf(job.endpointId, job.releaseId);
  }

  /** For moves that nobody else will ask for again: a full disk only puts them off. */
  async insist(work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      this.#options.log.error("a job could not be moved yet", { error: String(error) });
      if (this.#isClosed) return;
      this.#clock.after(INSIST_MS, () => this.#inBackground(work));
    }
  }

  // --- what the passing of time does

  #attemptOver(attempt: Attempt, { why, neighbours }: Over): void {
    this.#inBackground(() =>
      why === "time" ? this.#overdue(attempt) : this.#fellSilent(attempt, neighbours),
    );
  }

  async #overdue({ jobId, workerId, attempt }: Attempt): Promise<void> {
    const job = await this.heldJob({ jobId, workerId, attempt });
    if (job === undefined) return;
    const settled = await this.settle(job, failures.afterOvertime(job, this.#now()));
    if (settled === undefined) return;
    this.stops.add(workerId, jobId);
    this.onOverdue.emit(job as TakenJob);
  }

  /** The worker gave no sign of life for a lease. */
  async #fellSilent({ jobId, workerId, attempt }: Attempt, neighbours: number): Promise<void> {
    const job = await this.heldJob({ jobId, workerId, attempt });
    if (job === undefined) return;
    const loss = failures.lossBySilence(workerId, { neighbours, now: this.#now() });
    if ((await this.lose(job, loss)) === undefined) return;
    this.stops.add(workerId, jobId);
    this.onLost.emit(job as TakenJob);
  }

  #expired(job: Job): void {
    if (job.workerId !== null) this.stops.add(job.workerId, job.id);
    this.#release(job);
    this.#freeKey(job);
    this.#tellAttempt(job, { kind: "timed-out", error: job.error ?? "" });
    this.#settled(job);
  }

  /** For those who keep traces: nobody, most of the time. */
  #tellAttempt(job: Job, outcome: Outcome, finishedAt: number | null = job.finishedAt): void {
    if (this.onAttempt.isEmpty || job.workerId === null) return;
    const error = "error" in outcome ? outcome.error : undefined;
    const why = outcome.kind === "requeued" ? "another attempt follows" : error;
    // A copy reads a large input once more, so it is made for those who listen.
    const ended = { ...job, finishedAt };
    this.onAttempt.emit({ job: ended, ...(why === undefined ? {} : { error: why }) });
  }

  #becameDue({ endpointId, releaseId, jobs }: DueJobs): void {
    for (let left = jobs; left > 0 && this.polls.ring(endpointId, releaseId); left--);
    this.onQueued.emit(endpointId);
  }

  #inBackground(work: () => Promise<unknown>): void {
    const guarded = this.insist(work).finally(() => this.#background.delete(guarded));
    this.#background.add(guarded);
  }

  // --- wake-ups

  #queued(job: Job): void {
    if (job.runAt > this.#now()) this.#sweeper.wakeAt(job.runAt);
    else this.onQueued.emit(job.endpointId);
  }

  /** One job less of its key: another one may start, of any release. */
  #freeKey({ key, workerId, endpointId }: Job): void {
    if (key !== null && workerId !== null) this.polls.ringEach(endpointId);
  }

  /** Its worker may be idle now, and so have jobs that run alone. */
  #release({ id, attempt, workerId }: Job): void {
    this.attempts.remove(id, attempt);
    if (!this.#hasAlone || workerId === null) return;
    if (this.attempts.heldBy(workerId) === 0) this.polls.ringWorker(workerId);
  }

  #settled(job: Job): void {
    this.#release(job);
    if (job.aloneSince !== null) this.polls.ringAll(job.endpointId);
    this.ends.ring(job.id, job);
    this.chunks.ring(job.id);
    if (job.webhook !== null) this.#webhooks.kick();
    this.onSettled.emit(job);
  }

  #retentionOf(job: Job): number {
    return rules.retentionMs(job.via, this.ends.patience(job.id));
  }

  #now(): number {
    return this.#clock.now();
  }
}

function isHeld(job: Job, { workerId, attempt }: WorkerWord): boolean {
  return (
    job.state === "IN_PROGRESS" &&
    job.workerId === workerId &&
    (attempt === undefined || attempt === job.attempt)
  );
}
