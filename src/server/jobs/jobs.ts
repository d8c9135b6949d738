/**
 * The jobs room: the life of a job between its submission and its end. The store makes every move
 * atomic and durable; this room decides which move, and wakes whoever waits for it.
 *
 *   jobs             the front door: submitting, and every verb that clients and workers have
 *   moves            what changes a job's state, and who is woken by it; recovery at the start
 *   work             workers: taking jobs, and their words about those they hold
 *   readers          waiting for a job's end, reading its stream
 *   requests         what it is asked and told: the types
 *   rules            pure decisions: policies, retention
 *   failures         pure decisions: what becomes of a job whose attempt failed; whom to blame
 *   attempts         deadlines of running attempts: leases, execution timeouts
 *   polls            workers that wait for a job
 *   stops            telling workers which jobs to give up
 *   bells            requests that wait for a job's end or its next chunk
 *   batches          many requests under one id, a few at a time
 *   webhooks         telling others how a job ended; private-address: whom not to tell
 *   sweeper          what the passing of time does: ttl, retention, delayed starts
 *   chunks           stream chunks of a size that clients take
 *   listeners        who hears of queued, settled, overdue and lost jobs
 *   steady           wall time that never goes back, not over a restart either
 *
 * Invariants:
 *   1. Memory holds only who waits, when to look, and copies of running attempts that save reading
 *      them; every move is judged by the store. Killing the process loses no job.
 *   2. Nothing is acknowledged, and nobody is woken with it, before the store has committed it.
 *      Polls are woken earlier only to look: their look is behind the write in the same group.
 *   3. Every word of a worker is checked against the attempt it holds; a stale one changes nothing.
 *   4. A job that was handed to nobody, because its poll was gone, goes back to its old place.
 */

import type { Clock } from "../../kit/clock.ts";
import { newJobId } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import type { Job, JobCounts, NewJob } from "../../contract/job.ts";
import { DEFAULTS } from "../../contract/limits.ts";
import type {
  Durability,
  FailedFilter,
  KeepFailed,
  Store,
  TakenJob,
} from "../../contract/store.ts";
import { Moves, type Asked, type AttemptEnd } from "./moves.ts";
import { LOOK_AGAIN_MS, Readers, type Patience } from "./readers.ts";
import type {
  DoneBody,
  GoneCause,
  JobRequest,
  JobTarget,
  RetryRules,
  StreamAnswer,
  StreamPlace,
  SubmitWait,
  TakeRequest,
  Verdict,
  ChunkWord,
  WorkerWord,
} from "./requests.ts";
import * as rules from "./rules.ts";
import { steadyClock } from "./steady.ts";
import { Work } from "./work.ts";

export type * from "./requests.ts";

export interface JobsOptions {
  store: Store;
  clock: Clock;
  log: Log;
  /** Undefined when the release or the endpoint is no longer there. */
  targetOf: (endpointId: string, releaseId: string) => Promise<RetryRules | undefined>;
  /** Takes secrets out of what a worker says about a failure. Default: as it is. */
  redact?: (endpointId: string, text: string) => string;
  /** Lets webhooks reach loopback and private networks. Default false. */
  allowPrivateWebhooks?: boolean;
  /** How long failed jobs are kept for those who ask for them, and how many. Default: 7 days, 10,000 of an endpoint. */
  keepFailed?: Partial<KeepFailed>;
  /** Spreads delays; for tests. */
  random?: () => number;
}

interface AskedJob {
  target: JobTarget;
  request: JobRequest;
}

export class Jobs {
  readonly #store: Store;
  readonly #clock: Clock;
  readonly #allowPrivateWebhooks: boolean;
  readonly #moves: Moves;
  readonly #readers: Readers;
  readonly #work: Work;

  constructor(options: JobsOptions) {
    const { store, log, targetOf, allowPrivateWebhooks = false, random = Math.random } = options;
    const clock = steadyClock(options.clock);
    this.#store = store;
    this.#clock = clock;
    this.#allowPrivateWebhooks = allowPrivateWebhooks;
    const { keepFailedMs: forMs, keepFailedJobs } = DEFAULTS;
    const keepFailed = { forMs, jobs: keepFailedJobs, ...options.keepFailed };
    this.#moves = new Moves({ store, clock, log, targetOf, allowPrivateWebhooks, keepFailed });
    this.#readers = new Readers({ store, clock, moves: this.#moves });
    const redact = options.redact ?? ((_, text: string) => text);
    this.#work = new Work({ store, clock, moves: this.#moves, random, redact });
  }

  /**
   * Recovery, then timers. Running attempts of workers that are not in `livingWorkers` (default: none
   * lives) go back to their places in the queue; it was not the job's fault.
   */
  async start({ livingWorkers }: { livingWorkers?: ReadonlySet<string> } = {}): Promise<void> {
    await this.#moves.start(livingWorkers);
  }

  /** Ends every wait; what was under way is committed or will be found by the next start. Idempotent. */
  async close(): Promise<void> {
    if (!this.isClosed) await this.#moves.close();
  }

  /** From then on nothing is held: every wait ends at once. */
  get isClosed(): boolean {
    return this.#moves.isClosed;
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
    { waitMs, signal, onAccepted }: SubmitWait,
  ): Promise<Job> {
    const id = newJobId("runsync");
    const endsAt = this.#clock.elapsed() + waitMs;
    const left = (): number => endsAt - this.#clock.elapsed();
    // Hung before the job is there: its end is not missed, and the record need not be read.
    const bell = this.#moves.ends.hang(id, waitMs);
    try {
      const asked = this.#newJob(id, "runsync", { target, request });
      // Nobody hears of it before it has ended, or was read from the disk.
      const job = await this.#moves.submit(asked, { isWaited: true });
      if (job.id === id) onAccepted?.(id);
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

  async #submit(id: string, via: "run" | "runsync", asked: AskedJob): Promise<Job> {
    return await this.#moves.submit(this.#newJob(id, via, asked));
  }

  #newJob(id: string, via: "run" | "runsync", { target, request }: AskedJob): NewJob {
    const now = this.#clock.now();
    const policy = rules.withDeadline(rules.readPolicy(target, request.policy), request, now);
    return {
      id,
      endpointId: target.endpointId,
      releaseId: target.releaseId,
      via,
      input: request.inputText ?? JSON.stringify(request.input ?? null),
      policy,
      webhook: rules.readWebhook(request.webhook, this.#allowPrivateWebhooks),
      extra: request.extra ?? null,
      runAt: rules.readRunAt(request, now, policy.ttlMs),
      createdAt: now,
      idempotencyKey: request.idempotencyKey ?? null,
      key: rules.readKey(request.key),
      keyConcurrency: target.keyConcurrency ?? 1,
    };
  }

  /** The job, until its retention is over; when it has failed and `kept` ones are asked for, longer. */
  get(id: string, asked?: Asked): Promise<Job | undefined> {
    return this.#moves.get(id, asked);
  }

  /** What an acknowledgement means. */
  get durability(): Durability {
    return this.#store.durability;
  }

  counts(endpointId: string): Promise<JobCounts> {
    return this.#store.jobs.counts(endpointId);
  }

  /** A page of an endpoint's jobs, newest first, without inputs and outputs. */
  list(request: Parameters<Store["jobs"]["list"]>[0]): ReturnType<Store["jobs"]["list"]> {
    return this.#store.jobs.list(request);
  }

  /** The job once it is final, or as it is when the wait ends first. */
  waitFinal(id: string, waitMs: number, signal?: AbortSignal): Promise<Job | undefined> {
    return this.#readers.waitFinal(id, { waitMs, signal });
  }

  /** Chunks that nobody has read yet; waits for one, or for the end. Undefined for an unknown job. */
  stream(id: string, patience: Patience): Promise<StreamAnswer | undefined> {
    return this.#readers.stream(id, patience);
  }

  /**
   * Chunks of the running or last attempt behind a reader's place, for any number of readers; waits for
   * one, or for the end. Undefined for an unknown job, and when the room closes.
   */
  read(id: string, place: StreamPlace, patience: Patience): ReturnType<Readers["read"]> {
    return this.#readers.read(id, place, patience);
  }

  /** Queued and running jobs become CANCELLED at once, final ones stay. Undefined for an unknown job. */
  cancel(id: string): Promise<Job | undefined> {
    return this.#moves.cancel(id);
  }

  /** From FAILED or TIMED_OUT back into the queue. Undefined for an unknown job. */
  retry(id: string, asked?: Asked): Promise<{ job: Job; moved: boolean } | undefined> {
    return this.#moves.retry(id, asked);
  }

  /** {@link retry} of all that have failed until now and that the filter means. Returns how many. */
  redrive(endpointId: string, filter: FailedFilter = {}): Promise<number> {
    return this.#moves.redrive(endpointId, filter);
  }

  /** Jobs that have failed for good, newest first, without inputs and outputs. */
  failed(request: Parameters<Store["jobs"]["failed"]>[0]): ReturnType<Store["jobs"]["failed"]> {
    return this.#store.jobs.failed(request);
  }

  /** Cancels what waits in the endpoint's queue. Returns how many. */
  purge(endpointId: string): Promise<number> {
    return this.#moves.purge(endpointId);
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
  take(request: TakeRequest): Promise<TakenJob[]> {
    return this.#work.take(request);
  }

  /** Takes back jobs that did not reach their worker. They keep their place; nothing counts as failed. */
  putBack(jobs: readonly Job[]): Promise<void> {
    return this.#moves.putBack(jobs);
  }

  /** A worker is back and says what it holds: whatever else it was given has never reached it. */
  resume(workerId: string, held: readonly string[]): Promise<void> {
    return this.#work.resume(workerId, held);
  }

  /** A result, an error or a progress update. */
  done(word: WorkerWord & { body: DoneBody }): Promise<Verdict> {
    return this.#work.done(word);
  }

  /** One value of a generator. Texts over the limit of a chunk arrive as several. */
  chunk(word: ChunkWord): Promise<Verdict> {
    return this.#work.chunk(word);
  }

  /** A sign of life with the jobs the worker says it holds; undefined when it does not say. */
  ping(workerId: string, endpointId: string, jobIds: string[] | undefined): Promise<void> {
    return this.#work.ping(workerId, endpointId, jobIds);
  }

  /** The worker names all its jobs with every ping; others are believed to only once they have named one. */
  listsAll(workerId: string): void {
    this.#moves.attempts.listsAll(workerId);
  }

  /** The most memory a worker has used so far: it cannot be asked when it is dead. */
  notePeakMemory(workerId: string, bytes: number): void {
    this.#work.notePeakMemory(workerId, bytes);
  }

  /** Long poll: jobs that this worker should stop. */
  stopsFor(workerId: string, holdMs: number, signal?: AbortSignal): Promise<string[]> {
    return this.#moves.stops.next(workerId, holdMs, signal);
  }

  /** The worker is gone: its jobs go back to the queue once more, or fail with the cause. */
  workerGone(workerId: string, cause: GoneCause): Promise<void> {
    return this.#work.workerGone(workerId, cause);
  }

  /** Open polls of this worker are answered at once with nothing, further ones too. */
  drainWorker(workerId: string): void {
    this.#work.drainWorker(workerId);
  }

  // --- what others hear

  /** Submitted, requeued, or newly due. Each of these returns a function that ends it. */
  onQueued(listener: (endpointId: string) => void): () => void {
    return this.#moves.onQueued.add(listener);
  }

  /** An attempt is over, however it ended. */
  onAttempt(listener: (end: AttemptEnd) => void): () => void {
    return this.#moves.onAttempt.add(listener);
  }

  onSettled(listener: (job: Job) => void): () => void {
    return this.#moves.onSettled.add(listener);
  }

  /** The execution timeout was reached: the job is FAILED already, its worker should be ended. */
  onOverdue(listener: (job: TakenJob) => void): () => void {
    return this.#moves.onOverdue.add(listener);
  }

  /** The attempt's worker fell silent; the job went back to the queue or failed. */
  onLost(listener: (job: TakenJob) => void): () => void {
    return this.#moves.onLost.add(listener);
  }

  /** The worker asked to be replaced. It gets no further job. */
  onStopPod(listener: (workerId: string) => void): () => void {
    return this.#work.onStopPod.add(listener);
  }

  /** The worker goes on with a job that it was told to stop; nothing but its end will stop it. */
  onDeaf(listener: (workerId: string) => void): () => void {
    return this.#work.onDeaf.add(listener);
  }
}
