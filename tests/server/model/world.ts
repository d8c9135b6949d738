/**
 * The world of one run: the product (Jobs over a real store), the reference beside it, workers that
 * behave and misbehave, and random steps that both are taken through.
 *
 * Invariants that are checked after every step, beside the comparison of every job:
 *   a job's attempt number never goes back, and grows by one with each take;
 *   a final record never changes, unless its retry was asked for;
 *   no more jobs of a key run than its endpoint allows, and keys take turns;
 *   a job that has to run alone on its worker does;
 *   a take never brings more than was asked for, nor leaves an earlier job behind;
 *   nobody waits for a job that is there, nor for an end that has come;
 *   a worker is never told to stop a job that it rightly runs;
 *   the counters and totals are those of the jobs in the table.
 */

import assert from "node:assert/strict";
import { copyFileSync, existsSync, mkdirSync } from "node:fs";
import path from "node:path";
import type { Job } from "../../../src/contract/job.ts";
import { isFinal, JOB_STATES } from "../../../src/contract/states.ts";
import type { Durability, TakenJob } from "../../../src/contract/store.ts";
import { ManualClock } from "../../../src/kit/clock.ts";
import { silentLog } from "../../../src/kit/log.ts";
import { Jobs, type JobTarget } from "../../../src/server/jobs/jobs.ts";
import type { Failpoints } from "../../../src/server/store/commit.ts";
import { openStore, type SqliteStore } from "../../../src/server/store/store.ts";
import { settleDown } from "../jobs-support.ts";
import { Random } from "../../support/random.ts";
import { isOver, Reference, STEP_MS, type ModelJob } from "./reference.ts";

const RULES = {
  code: { retries: 2, isCode: true, keyConcurrency: 1 },
  strict: { retries: 0, isCode: true, keyConcurrency: 2 },
  image: { retries: 1, isCode: false, keyConcurrency: 1 },
} as const;
const ENDPOINTS = Object.keys(RULES) as (keyof typeof RULES)[];
const RELEASE = "rel_1";
const OPEN_JOBS = 30;
/** The sweep comes every second; this much later nothing may be left that has expired. */
const SWEEP_TOLERANCE_MS = 1000 + 2 * STEP_MS;
const KEYS = 6;
const TENANTS = 2;

const STEPS = {
  submit: 22,
  resubmit: 3,
  take: 16,
  poll: 6,
  hangUp: 1,
  complete: 12,
  fail: 6,
  stale: 6,
  progress: 4,
  chunk: 6,
  drain: 4,
  ping: 12,
  listen: 4,
  die: 2,
  cancel: 4,
  retry: 3,
  purge: 0.4,
  pass: 12,
  passLong: 0.6,
  jump: 0.6,
  restart: 0.8,
  crash: 0.8,
} as const;

interface Held {
  job: Job;
  attempt: number;
}

interface TestWorker {
  id: string;
  endpoint: keyof typeof RULES;
  capacity: number;
  /** What it believes to hold, by job id. */
  held: Map<string, Held>;
  poll: { stop: AbortController; taken: TakenJob[] | undefined } | undefined;
}

interface Waiter {
  id: string;
  seen: Job | undefined;
  isOver: boolean;
}

export interface WorldOptions {
  seed: number;
  folder: string;
  durability: Durability;
  /** Faults of the store, to see that they are noticed. */
  failpoints?: Failpoints;
}

export class World {
  readonly #random: Random;
  readonly #clock = new ManualClock();
  readonly #model = new Reference(RULES);
  readonly #options: WorldOptions;
  readonly #workers = new Map<string, TestWorker>();
  readonly #finals = new Map<string, string>();
  readonly #attempts = new Map<string, number>();
  /** Since when workers wait although there are jobs for them. */
  readonly #waitsSince = new Map<string, number>();
  readonly #expiredSince = new Map<string, number>();
  /** Retries that happened, or not, unseen between two looks. */
  readonly #unsure = new Map<string, number>();
  #waiters: Waiter[] = [];
  #store: SqliteStore;
  #jobs: Jobs;
  #home: string;
  #homes = 0;
  #names = 0;
  #looks = 0;
  /** Jobs that polls have brought since the last look. */
  #taken = new Map<string, string>();
  /** The last steps, for the report of a failure. */
  readonly log: string[] = [];
  readonly counts = { steps: 0, jobs: 0, ends: 0, crashes: 0 };

  constructor(options: WorldOptions) {
    this.#options = options;
    this.#random = new Random(options.seed);
    this.#home = this.#newHome();
    this.#store = this.#openStore();
    this.#jobs = this.#newJobs();
  }

  async run(steps: number): Promise<void> {
    await this.#jobs.start();
    while (this.counts.steps < steps) {
      const step = this.#random.weighted(STEPS);
      this.counts.steps += 1;
      this.#note(step);
      await this[step]();
      await this.#settle();
    }
    await this.#finish();
  }

  async close(): Promise<void> {
    await this.#jobs.close();
    await this.#store.close();
  }

  // --- what clients do

  async submit(): Promise<void> {
    const open = [...this.#model.jobs.values()].filter((job) => !isOver(job));
    if (open.length >= OPEN_JOBS) return this.take();
    const random = this.#random;
    const endpoint = random.pick(ENDPOINTS) ?? "code";
    const key = random.chance(0.15) ? `key-${random.between(1, KEYS)}` : null;
    await this.#submit(endpoint, key);
  }

  /** The same key again, at once and twice. */
  async resubmit(): Promise<void> {
    const key = `key-${this.#random.between(1, KEYS)}`;
    const endpoint = this.#random.pick(ENDPOINTS) ?? "code";
    const before = this.#model.byKey(endpoint, key);
    const [first, second] = await Promise.all([
      this.#submit(endpoint, key),
      this.#submit(endpoint, key),
    ]);
    assert.equal(first, second, `${key} was accepted twice`);
    if (before !== undefined) assert.equal(first, before.id, `${key} was forgotten`);
  }

  async #submit(endpoint: keyof typeof RULES, key: string | null): Promise<string> {
    const random = this.#random;
    const via = random.chance(0.3) ? "runsync" : "run";
    const input = JSON.stringify({
      n: this.#names++,
      text: "x".repeat(random.pick([0, 2000]) ?? 0),
    });
    const policy = {
      executionTimeout: random.pick([5000, 8000, 60_000]) ?? 5000,
      ttl: random.pick([10_000, 60_000, 600_000]) ?? 60_000,
      lowPriority: random.chance(0.2),
    };
    const tenant = random.chance(0.5) ? `tenant-${random.between(1, TENANTS)}` : null;
    const delayMs = random.chance(0.2) ? random.between(1, Math.min(20_000, policy.ttl - 1)) : 0;
    const { now } = this.#model.times;
    const runAt = now + delayMs;
    const job = await this.#jobs.submit(
      targetOf(endpoint),
      {
        input: undefined,
        inputText: input,
        policy,
        ...(tenant === null ? {} : { key: tenant }),
        ...(delayMs > 0 ? { runAt } : {}),
        ...(key === null ? {} : { idempotencyKey: key }),
      },
      via,
    );
    if (this.#model.jobs.has(job.id)) {
      assert.notEqual(key, null);
      assert.equal(this.#model.byKey(endpoint, key ?? "")?.id, job.id, "another job's id");
      return job.id;
    }
    const { lowPriority, ttl: ttlMs, executionTimeout: executionTimeoutMs } = policy;
    const known = { id: job.id, endpoint, via, input, key, tenant, runAt } as const;
    this.#model.add({ ...known, ttlMs, executionTimeoutMs, lowPriority });
    this.counts.jobs += 1;
    if (random.chance(0.3)) this.#wait(job.id);
    return job.id;
  }

  #wait(id: string): void {
    const waiter: Waiter = { id, seen: undefined, isOver: false };
    this.#waiters.push(waiter);
    void this.#jobs.waitFinal(id, 60_000).then((job) => {
      waiter.seen = job;
      waiter.isOver = true;
    });
  }

  async cancel(): Promise<void> {
    const job = this.#anyJob();
    if (job === undefined) return;
    this.#note(job.id);
    const seen = await this.#jobs.cancel(job.id);
    this.#model.cancel(job);
    assert.equal(seen?.state, job.state);
  }

  async retry(): Promise<void> {
    const failed = this.#model.kept().filter(({ state }) => state === "FAILED");
    const job = this.#random.chance(0.8) ? this.#random.pick(failed) : this.#anyJob();
    if (job === undefined) return;
    this.#note(job.id);
    const result = await this.#jobs.retry(job.id);
    const moved = this.#model.retry(job);
    assert.equal(result?.moved, moved);
    if (moved) this.#finals.delete(job.id);
  }

  async purge(): Promise<void> {
    const endpoint = this.#random.pick(ENDPOINTS) ?? "code";
    const removed = await this.#jobs.purge(endpoint);
    const waiting = [...this.#model.jobs.values()].filter(
      (job) =>
        job.endpoint === endpoint &&
        job.state === "IN_QUEUE" &&
        job.createdAt <= this.#model.times.now,
    );
    for (const job of waiting) this.#model.purge(job);
    assert.equal(removed, waiting.length, "jobs removed by a purge");
  }

  /** Every chunk once, in order, none of an attempt that did not finish. */
  async drain(): Promise<void> {
    const job = this.#anyJob();
    if (job === undefined) return;
    this.#note(job.id);
    const answer = await this.#jobs.stream(job.id, { waitMs: 0 });
    // The stream of a job that was cancelled a while ago is closed.
    if (answer === undefined) return assert.equal(job.state, "CANCELLED");
    assert.deepEqual(answer.chunks, job.unread.splice(0));
    assert.equal(answer.status, job.state);
  }

  // --- what workers do

  async take(): Promise<void> {
    const worker = this.#worker();
    const limit = worker.capacity - worker.held.size;
    if (limit <= 0 || worker.poll !== undefined) return this.complete();
    const { endpoint, id } = worker;
    const taken = await this.#jobs.take({
      endpointId: endpoint,
      releaseId: RELEASE,
      workerId: id,
      limit,
      holdMs: 0,
    });
    const expected = this.#model.due(endpoint, id, limit);
    assert.deepEqual(
      taken.map((job) => job.id),
      expected.map((job) => job.id),
      "jobs handed out",
    );
    for (const job of expected) {
      this.#model.take(job, id);
      this.#model.served(job);
    }
    this.#hold(worker, taken);
  }

  /** A take that is held until there is something. */
  async poll(): Promise<void> {
    const worker = this.#worker();
    const limit = worker.capacity - worker.held.size;
    if (limit <= 0 || worker.poll !== undefined) return;
    const stop = new AbortController();
    const poll: NonNullable<TestWorker["poll"]> = { stop, taken: undefined };
    worker.poll = poll;
    void this.#jobs
      .take({
        endpointId: worker.endpoint,
        workerId: worker.id,
        limit,
        holdMs: 20_000,
        signal: stop.signal,
      })
      .then((taken) => {
        poll.taken = taken;
        for (const { id } of taken) this.#taken.set(id, worker.id);
      });
  }

  /** The connection of a poll breaks. */
  async hangUp(): Promise<void> {
    this.#random.pick([...this.#workers.values()])?.poll?.stop.abort();
  }

  async complete(): Promise<void> {
    const [worker, held] = this.#anyHeld();
    if (held === undefined || worker === undefined) return;
    const output = JSON.stringify({ by: worker.id, attempt: held.attempt, n: this.#names++ });
    await this.#post(worker, held, { outputText: output });
  }

  async fail(): Promise<void> {
    const [worker, held] = this.#anyHeld();
    if (held === undefined || worker === undefined) return;
    const wish = this.#random.pick([{}, {}, { retryable: false }, { retryAfterMs: 7000 }]);
    await this.#post(worker, held, { error: "it failed", ...wish });
  }

  /** The worker gives its job up with this result, whether it still has it or not. */
  async #post(
    worker: TestWorker,
    { job, attempt }: Held,
    body: { outputText?: string; error?: string; retryable?: boolean; retryAfterMs?: number },
  ): Promise<void> {
    this.#note(`${job.id} attempt ${attempt} by ${worker.id}`);
    const isRight = this.#rightly(worker, { job, attempt });
    const word = { jobId: job.id, workerId: worker.id };
    const verdict = await this.#jobs.done({
      ...word,
      ...(this.#mayOmitAttempt(worker, { job, attempt }) ? {} : { attempt }),
      body,
    });
    assert.equal(verdict, isRight ? "accepted" : "stale");
    worker.held.delete(job.id);
    const known = this.#model.jobs.get(job.id);
    if (!isRight || known === undefined) return;
    const { error = "", retryAfterMs } = body;
    if (body.outputText !== undefined) this.#model.complete(known, body.outputText);
    else if (retryAfterMs !== undefined) {
      this.#model.failUntil(known, error, this.#model.times.now + retryAfterMs);
    } else {
      const isFinal = body.retryable === false;
      this.#model.fail(known, { error, isFinal });
    }
  }

  /** Words about attempts that are over, were never theirs, or never were. */
  async stale(): Promise<void> {
    const job = this.#anyJob();
    if (job === undefined) return;
    const holder = job.running?.worker;
    const isForeign = holder === undefined || this.#random.chance(0.5);
    const word = isForeign
      ? { jobId: job.id, workerId: `foreign-${this.#names++}` }
      : {
          jobId: job.id,
          workerId: holder,
          attempt: job.attempt + (this.#random.pick([-1, 1]) ?? 1),
        };
    const body = this.#random.pick([
      { outputText: '"stale"' },
      { error: "stale" },
      { status: "IN_PROGRESS", outputText: '"stale"' },
    ]);
    assert.equal(await this.#jobs.done({ ...word, body: body ?? {} }), "stale");
    assert.equal(await this.#jobs.chunk({ ...word, output: "stale" }), "stale");
  }

  async progress(): Promise<void> {
    const [worker, held] = this.#anyHeld();
    if (held === undefined || worker === undefined) return;
    const { job, attempt } = held;
    const isRight = this.#rightly(worker, held);
    const output = JSON.stringify({ progress: this.#names++ });
    const body = { status: "IN_PROGRESS", outputText: output };
    const word = { jobId: job.id, workerId: worker.id, attempt };
    assert.equal(await this.#jobs.done({ ...word, body }), isRight ? "accepted" : "stale");
    const known = this.#model.jobs.get(job.id);
    if (isRight && known !== undefined) known.output = output;
  }

  async chunk(): Promise<void> {
    const [worker, held] = this.#anyHeld();
    if (held === undefined || worker === undefined) return;
    const { job, attempt } = held;
    const isRight = this.#rightly(worker, held);
    const output = { attempt, n: this.#names++ };
    const word = { jobId: job.id, workerId: worker.id, attempt };
    const verdict = await this.#jobs.chunk({ ...word, output });
    assert.equal(verdict, isRight ? "accepted" : "stale");
    if (isRight) this.#model.jobs.get(job.id)?.unread.push(JSON.stringify(output));
  }

  async ping(): Promise<void> {
    const worker = this.#random.pick(this.#workers.values());
    if (worker === undefined) return;
    const listed = [...worker.held.keys()].filter(() => this.#random.chance(0.95));
    const ids = this.#random.chance(0.15) ? undefined : listed;
    this.#note(`${worker.id} ${ids?.length ?? "without ids"}`);
    await this.#jobs.ping(worker.id, worker.endpoint, ids);
    this.#model.ping(worker.id, ids);
  }

  /** Asks which jobs to stop, and stops them. */
  async listen(): Promise<void> {
    const worker = this.#random.pick(this.#workers.values());
    if (worker === undefined) return;
    for (const id of await this.#jobs.stopsFor(worker.id, 0)) {
      const held = worker.held.get(id);
      const isRight = held !== undefined && this.#rightly(worker, held);
      assert.ok(!isRight, `${worker.id} was told to stop ${id}, which it rightly runs`);
      worker.held.delete(id);
    }
  }

  async die(): Promise<void> {
    const worker = this.#random.pick(this.#workers.values());
    if (worker === undefined) return;
    this.#note(worker.id);
    worker.poll?.stop.abort();
    await this.#settle();
    this.#workers.delete(worker.id);
    const isExpected = this.#random.chance(0.3);
    const endedBecause = isExpected ? { endedBecause: "it was idle" } : {};
    await this.#jobs.workerGone(worker.id, { code: null, signal: "SIGKILL", ...endedBecause });
    this.#model.forget(worker.id, isExpected);
  }

  // --- what happens to everybody

  async pass(): Promise<void> {
    await this.#pass(this.#random.between(1, 12) * STEP_MS);
  }

  /** Long enough for leases, timeouts and some retentions to be over. */
  async passLong(): Promise<void> {
    await this.#pass(this.#random.between(10, 70) * 1000);
  }

  async #pass(ms: number): Promise<void> {
    this.#note(`${ms} ms`);
    for (let left = ms; left > 0; left -= STEP_MS) {
      this.#clock.advance(Math.min(left, STEP_MS));
      await this.#settle();
    }
  }

  /** The wall clock is set, by an operator or after a suspend. */
  async jump(): Promise<void> {
    const ms = this.#random.pick([-86_400_000, -3_600_000, -5000, 5000, 60_000, 3_600_000]) ?? 0;
    this.#note(`${ms} ms`);
    this.#clock.jump(ms);
    // Somebody looks at the clock, as in a server somebody always does.
    await this.#jobs.take({ endpointId: "none", workerId: "none", limit: 1, holdMs: 0 });
  }

  async restart(): Promise<void> {
    await this.#endPolls();
    await this.#jobs.close();
    if (this.#options.durability !== "memory") {
      await this.#store.close();
      this.#store = this.#openStore();
    }
    await this.#start();
  }

  /**
   * The server is killed with operations under way: the files are copied as they lie there, and only
   * the copy counts. What was not acknowledged by then may be in it or not.
   */
  async crash(): Promise<void> {
    if (this.#options.durability === "memory") return this.restart();
    this.counts.crashes += 1;
    await this.#endPolls();
    const underWay = this.#operationsUnderWay();
    for (let turns = this.#random.between(0, 3); turns > 0; turns--) {
      await new Promise((resolve) => setImmediate(resolve));
    }
    const acknowledged = underWay.map((operation) => operation.isAcknowledged());
    const old = this.#home;
    this.#home = this.#newHome();
    for (const name of ["flash.db", "flash.db-wal", "flash.journal"]) {
      const file = path.join(old, name);
      if (existsSync(file)) copyFileSync(file, path.join(this.#home, name));
    }
    await Promise.all(underWay.map(({ over }) => over));
    await this.#jobs.close();
    await this.#store.close();
    this.#store = this.#openStore();
    for (const [index, operation] of underWay.entries()) {
      const seen = await this.#store.jobs.get(operation.id());
      if (acknowledged[index] === true || operation.hasHappened(seen)) operation.happened();
    }
    await this.#start();
  }

  #operationsUnderWay(): Operation[] {
    const operations = [this.#submitUnderWay(), this.#submitUnderWay()];
    const [worker, held] = this.#anyHeld();
    if (worker !== undefined && held !== undefined && this.#rightly(worker, held)) {
      operations.push(this.#resultUnderWay(worker, held));
    }
    return operations;
  }

  #submitUnderWay(): Operation {
    const endpoint = "code";
    const input = JSON.stringify({ n: this.#names++ });
    const { now } = this.#model.times;
    const known = { endpoint, via: "run", input, key: null, tenant: null, runAt: now } as const;
    let id: string | undefined;
    const over = this.#jobs
      .submit(
        targetOf(endpoint),
        { input: undefined, inputText: input, policy: { ttl: 60_000, executionTimeout: 5000 } },
        "run",
      )
      .then((job) => (id = job.id));
    const policy = { ttlMs: 60_000, executionTimeoutMs: 5000, lowPriority: false };
    let isAcknowledged = false;
    return {
      id: () => id ?? "",
      over: over.then(() => (isAcknowledged = true)),
      isAcknowledged: () => isAcknowledged,
      hasHappened: (seen) => seen !== undefined,
      happened: () => this.#model.add({ ...known, ...policy, id: id ?? "" }),
    };
  }

  #resultUnderWay(worker: TestWorker, { job, attempt }: Held): Operation {
    const output = JSON.stringify({ crash: this.#names++ });
    let isAcknowledged = false;
    const body = { outputText: output };
    const done = this.#jobs.done({ jobId: job.id, workerId: worker.id, attempt, body });
    return {
      id: () => job.id,
      over: done.then(() => (isAcknowledged = true)),
      isAcknowledged: () => isAcknowledged,
      hasHappened: (seen) => seen?.output === output,
      happened: () => this.#model.complete(this.#model.jobs.get(job.id) as ModelJob, output),
    };
  }

  async #endPolls(): Promise<void> {
    for (const { poll } of this.#workers.values()) poll?.stop.abort();
    await this.#settle();
  }

  async #start(): Promise<void> {
    const living = new Set([...this.#workers.keys()].filter(() => this.#random.chance(0.5)));
    const running = await this.#store.jobs.running();
    const startedAt = new Map(running.map((job) => [job.id, job.startedAt ?? 0]));
    for (const id of this.#workers.keys()) if (!living.has(id)) this.#workers.delete(id);
    this.#waiters = [];
    this.#jobs = this.#newJobs();
    const latestAt = await this.#store.jobs.latestAt();
    if (this.#model.restart(living, { startedAt, latestAt }) === "set back") this.#setBack();
    await this.#jobs.start({ livingWorkers: living });
  }

  /** Jobs that ended later than now have ended now. */
  #setBack(): void {
    const { now } = this.#model.times;
    for (const [id, text] of this.#finals) {
      const record = JSON.parse(text) as { finishedAt: number };
      record.finishedAt = Math.min(record.finishedAt, now);
      this.#finals.set(id, JSON.stringify(record));
    }
  }

  // --- looking

  async #settle(): Promise<void> {
    await settleDown(this.#store);
    this.#readTimes();
    const taken = this.#taken;
    this.#taken = new Map();
    for (const worker of this.#workers.values()) this.#collectPoll(worker);
    this.#serve(taken);
    // Those that have ended are looked at once at their end, and then less often: they must not change.
    const isThorough = this.#looks % 8 === 0;
    for (const job of this.#model.jobs.values()) {
      const isNews = !this.#finals.has(job.id);
      if (isNews || isThorough) await this.#look(job, taken.get(job.id));
    }
    this.#checkWaits();
    if (this.#looks++ % 24 === 0) for (const endpoint of ENDPOINTS) await this.#count(endpoint);
  }

  #collectPoll(worker: TestWorker): void {
    const taken = worker.poll?.taken;
    if (taken === undefined) return;
    worker.poll = undefined;
    this.#hold(worker, taken);
  }

  /** In the order in which polls were answered. */
  #serve(taken: ReadonlyMap<string, string>): void {
    for (const id of taken.keys()) {
      const job = this.#model.jobs.get(id);
      if (job !== undefined) this.#model.served(job);
    }
  }

  #hold(worker: TestWorker, taken: readonly TakenJob[]): void {
    for (const job of taken) worker.held.set(job.id, { job, attempt: job.attempt });
    assert.ok(worker.held.size <= worker.capacity, `${worker.id} got more than it asked for`);
  }

  async #look(job: ModelJob, takenBy: string | undefined): Promise<void> {
    const record = await this.#store.jobs.get(job.id);
    // A failed job that outlives its result is gone for everybody who does not ask for such jobs.
    const seen = record?.isKept === true ? undefined : record;
    const wasSilent = (job.running?.leaseEndsAt ?? Infinity) <= this.#model.times.elapsed;
    assert.equal(this.#model.explain(job, seen, takenBy), undefined);
    if (seen === undefined) {
      // Whether it went back into the queue before it expired, nobody can see any more.
      if (wasSilent) this.#unsure.set(job.endpoint, (this.#unsure.get(job.endpoint) ?? 0) + 1);
      return;
    }
    this.#checkHistory(seen);
    this.#checkDeadlines(job);
    const shown = await this.#jobs.get(job.id);
    const isKept = (job.dropAt ?? Infinity) > this.#model.times.now;
    assert.equal(shown?.state, isKept ? seen.state : undefined);
  }

  #checkHistory(seen: Job): void {
    const before = this.#attempts.get(seen.id) ?? 0;
    assert.ok(seen.attempt === before || seen.attempt === before + 1, "attempts grow by one");
    this.#attempts.set(seen.id, seen.attempt);
    if (!isFinal(seen.state)) return;
    const { state, output, error, attempt, finishedAt } = seen;
    const record = JSON.stringify({ state, output, error, attempt, finishedAt });
    assert.equal(record, this.#finals.get(seen.id) ?? record, "a final record changed");
    if (!this.#finals.has(seen.id)) this.counts.ends += 1;
    this.#finals.set(seen.id, record);
  }

  #checkDeadlines(job: ModelJob): void {
    assert.equal(this.#model.overdue(job, STEP_MS), undefined, job.id);
    const { now, elapsed } = this.#model.times;
    if ((job.dropAt ?? job.expiresAt) > now) {
      this.#expiredSince.delete(job.id);
      return;
    }
    const since = this.#expiredSince.get(job.id) ?? elapsed;
    this.#expiredSince.set(job.id, since);
    assert.ok(elapsed - since <= SWEEP_TOLERANCE_MS, `${job.id} is still there`);
  }

  /** Nobody waits in vain. */
  #checkWaits(): void {
    for (const endpoint of ENDPOINTS) {
      const waiting = [...this.#workers.values()].filter(
        (worker) => worker.endpoint === endpoint && worker.poll?.stop.signal.aborted === false,
      );
      const inVain = waiting.find(({ id }) => this.#model.due(endpoint, id, 1).length > 0);
      this.#checkPatience(endpoint, inVain?.id);
    }
    for (const { id, seen, isOver: isAnswered } of this.#waiters) {
      const final = this.#finals.get(id);
      if (final !== undefined) assert.ok(isAnswered, `nobody was told that ${id} has ended`);
      if (seen === undefined || !isFinal(seen.state) || final === undefined) continue;
      assert.equal(seen.output, (JSON.parse(final) as Job).output);
    }
    this.#waiters = this.#waiters.filter((waiter) => !waiter.isOver);
  }

  /** A wall clock that is set forward makes jobs due that only the next sweep finds. */
  #checkPatience(endpoint: string, worker: string | undefined): void {
    const { elapsed } = this.#model.times;
    const since = worker !== undefined ? (this.#waitsSince.get(endpoint) ?? elapsed) : elapsed;
    this.#waitsSince.set(endpoint, since);
    const isShort = elapsed - since <= SWEEP_TOLERANCE_MS;
    assert.ok(
      isShort,
      `workers wait beside ${this.#model.due(endpoint, worker ?? "")[0]?.id}, which is due`,
    );
  }

  /** Counters against the table, the table against the reference, workers against their capacity. */
  async #count(endpointId: keyof typeof RULES): Promise<void> {
    const { jobs: store } = this.#store;
    // Before the list, which puts all jobs in one place.
    const { retried, ...counts } = await store.counts(endpointId);
    const page = await store.list({ endpointId, offset: 0, limit: 1_000_000 });
    assert.equal(page.total, page.jobs.length);
    const strangers = page.jobs.filter(({ id }) => !this.#model.jobs.has(id));
    assert.deepEqual(strangers, [], "jobs that nobody submitted");
    const inState = (state: string): Job[] => page.jobs.filter((job) => job.state === state);
    for (const state of JOB_STATES) {
      const { total } = await store.list({ endpointId, states: [state], offset: 0, limit: 1 });
      assert.equal(total, inState(state).length, `${endpointId}: counter of ${state}`);
    }
    const expected = this.#model.totals.get(endpointId);
    assert.deepEqual(counts, {
      completed: expected?.completed,
      failed: expected?.failed,
      inProgress: inState("IN_PROGRESS").length,
      inQueue: inState("IN_QUEUE").length,
    });
    const unseen = retried - (expected?.retried ?? 0);
    assert.ok(unseen >= 0 && unseen <= (this.#unsure.get(endpointId) ?? 0), `retried: ${retried}`);
    this.#countKeys(endpointId, inState("IN_PROGRESS"));
    for (const { id, capacity } of this.#workers.values()) {
      const running = inState("IN_PROGRESS").filter((job) => job.workerId === id);
      assert.ok(running.length <= capacity, `${id} runs ${running.length} of ${capacity}`);
      const isAlone =
        running.length === 1 || running.every(({ aloneSince }) => aloneSince === null);
      assert.ok(isAlone, `${id} runs others beside a job that has to run alone`);
    }
  }

  #countKeys(endpointId: keyof typeof RULES, running: readonly Job[]): void {
    const counts = new Map<string, number>();
    for (const { key } of running) if (key !== null) counts.set(key, (counts.get(key) ?? 0) + 1);
    for (const [key, count] of counts) {
      const most = RULES[endpointId].keyConcurrency;
      assert.ok(count <= most, `${count} jobs of ${key} run at ${endpointId}`);
    }
  }

  /** With workers that work, every job that was accepted comes to its end. */
  async #finish(): Promise<void> {
    this.#note("finish");
    await this.#endPolls();
    for (let round = 0; ; round++) {
      const open = [...this.#model.jobs.values()].filter((job) => !isOver(job));
      if (open.length === 0) return;
      assert.ok(round < 200, `jobs do not end: ${JSON.stringify(open)}`);
      for (const endpoint of ENDPOINTS) await this.#workOff(endpoint);
      const nextAt = Math.min(...open.map(({ runAt }) => runAt));
      // The wall clock may have been set back before a restart.
      const isFar = nextAt - this.#model.times.now > 60_000;
      if (isFar) this.#clock.jump(nextAt - this.#clock.now());
      await this.#pass(1000);
    }
  }

  async #workOff(endpoint: keyof typeof RULES): Promise<void> {
    const worker = this.#newWorker(endpoint);
    worker.capacity = OPEN_JOBS * 2;
    const limit = worker.capacity;
    const request = { endpointId: endpoint, workerId: worker.id, limit, holdMs: 0 };
    const taken = await this.#jobs.take(request);
    for (const { id } of taken) {
      const job = this.#model.jobs.get(id) as ModelJob;
      this.#model.take(job, worker.id);
      this.#model.served(job);
    }
    this.#hold(worker, taken);
    for (const held of worker.held.values()) await this.#post(worker, held, { outputText: "1" });
    await this.#settle();
  }

  // --- small things

  #rightly(worker: TestWorker, { job, attempt }: Held): boolean {
    const known = this.#model.jobs.get(job.id);
    return known?.running?.worker === worker.id && known.attempt === attempt;
  }

  /** Workers of the platform do not know about attempts; they are held to the one they have. */
  #mayOmitAttempt(worker: TestWorker, { job, attempt }: Held): boolean {
    const known = this.#model.jobs.get(job.id);
    const isOther = known?.running?.worker === worker.id && known.attempt !== attempt;
    return !isOther && this.#random.chance(0.3);
  }

  #anyJob(): ModelJob | undefined {
    return this.#random.pick(this.#model.kept());
  }

  #anyHeld(): [TestWorker, Held] | [undefined, undefined] {
    const busy = [...this.#workers.values()].filter(({ held }) => held.size > 0);
    const worker = this.#random.pick(busy);
    const held = this.#random.pick(worker?.held.values() ?? []);
    return worker === undefined || held === undefined ? [undefined, undefined] : [worker, held];
  }

  #worker(): TestWorker {
    const known = this.#random.pick(this.#workers.values());
    const isNew = known === undefined || (this.#workers.size < 6 && this.#random.chance(0.2));
    return isNew ? this.#newWorker(this.#random.pick(ENDPOINTS) ?? "code") : known;
  }

  #newWorker(endpoint: keyof typeof RULES): TestWorker {
    const id = `w${this.#names++}`;
    const capacity = this.#random.between(1, 3);
    const worker: TestWorker = { id, endpoint, capacity, held: new Map(), poll: undefined };
    this.#workers.set(id, worker);
    return worker;
  }

  #readTimes(): void {
    const { now, elapsed } = this.#model.times;
    const newElapsed = this.#clock.elapsed();
    const newNow = Math.max(this.#clock.now(), now + newElapsed - elapsed);
    this.#model.times = { now: newNow, elapsed: newElapsed };
  }

  #newHome(): string {
    const home = path.join(this.#options.folder, `home-${this.#homes++}`);
    mkdirSync(home, { recursive: true });
    return home;
  }

  #openStore(): SqliteStore {
    const { durability, failpoints = {} } = this.#options;
    return openStore({ home: this.#home, durability, failpoints });
  }

  #newJobs(): Jobs {
    // A new server begins with the wall clock.
    this.#model.times = { now: this.#clock.now(), elapsed: this.#clock.elapsed() };
    return new Jobs({
      store: this.#store,
      clock: this.#clock,
      log: silentLog,
      targetOf: async (endpoint) => this.#model.rules[endpoint],
      random: () => 0.5,
    });
  }

  #note(text: string): void {
    this.log.push(`${this.counts.steps} ${text}`);
    if (this.log.length > 60) this.log.shift();
  }
}

function targetOf(endpoint: keyof typeof RULES): JobTarget {
  const { keyConcurrency } = RULES[endpoint];
  const rest = { releaseId: RELEASE, executionTimeoutMs: 0, retries: 0 };
  return { endpointId: endpoint, keyConcurrency, ...rest };
}

/** Something that a server was doing when it was killed. */
interface Operation {
  id(): string;
  over: Promise<unknown>;
  isAcknowledged(): boolean;
  /** By what the copy of the files says. */
  hasHappened(seen: Job | undefined): boolean;
  happened(): void;
}
