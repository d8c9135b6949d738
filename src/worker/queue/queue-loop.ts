/**
 * The loop of a queue worker: gets jobs while it has room, runs them, and gives up those that it is
 * told to stop.
 *
 * Invariants:
 *   Q1  at most `maxConcurrency` functions run, those that were stopped and go on included;
 *   Q2  a job is held, as the heartbeat tells it, from its arrival until its result is posted;
 *   Q3  after `drain()` no job is asked for, and every held one is finished and posted.
 */

import { ERRORS } from "../../contract/errors.ts";
import { sleep, systemClock, type Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import type { Service } from "../service.ts";
import type { JobChannel, JobMessage, JobReceiver } from "./channel.ts";
import type { Heartbeat } from "./heartbeat.ts";
import { JobRun, type JobEnd, type JobResult, type JobRunOptions } from "./job-run.ts";

/** A function that was stopped or is over its time gets this long to notice, ms. */
const STOP_GRACE_MS = 5000;

export interface QueueLoopOptions {
  channel: JobChannel;
  heartbeat: Heartbeat | undefined;
  maxConcurrency: number;
  job: Omit<JobRunOptions, "message" | "channel">;
  log: Log;
  /** A function pays no attention to its signal: only another process gets rid of it. */
  onStuck: () => void;
  clock?: Clock;
}

export class QueueLoop implements Service, JobReceiver {
  readonly #options: QueueLoopOptions;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #held = new Map<string, JobRun>();
  readonly #runs = new Set<Promise<void>>();
  /** Functions that run. */
  #running = 0;
  #drained: Promise<void> | undefined;

  constructor(options: QueueLoopOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  start(): void {
    this.#options.channel.start(this);
  }

  drain(): Promise<void> {
    this.#drained ??= this.#drain();
    return this.#drained;
  }

  get free(): number {
    return this.#options.maxConcurrency - this.#running; // Q1
  }

  get held(): Iterable<string> {
    return this.#held.keys();
  }

  give(message: JobMessage): void {
    if (this.#held.has(message.id)) return;
    const { job, channel } = this.#options;
    const run = new JobRun({ ...job, message, channel });
    this.#held.set(run.id, run);
    this.#options.heartbeat?.holds(run.held); // Q2
    this.#running++;
    const running = this.#run(run).finally(() => this.#runs.delete(running));
    this.#runs.add(running);
  }

  stop(id: string): boolean {
    const run = this.#held.get(id);
    if (run === undefined) return false;
    run.stop();
    this.#release(run);
    return true;
  }

  async #drain(): Promise<void> {
    const { channel, heartbeat } = this.#options;
    this.#closing.abort(new Error("the worker is ending"));
    await channel.stopTaking();
    while (this.#runs.size > 0) await Promise.all(this.#runs); // Q3
    await channel.close();
    await heartbeat?.close();
  }

  async #run(run: JobRun): Promise<void> {
    const result = await run.execute();
    // The function has come to its end, unless it was given up.
    const isStopped = run.call.isAborted;
    if (!isStopped) this.#leave();
    const end = await run.post(this.#closing.signal.aborted ? withFarewell(result) : result);
    this.#release(run);
    this.#logEnd(run, end);
    if (isStopped) await this.#untilSettled(run);
  }

  #leave(): void {
    this.#running--;
    this.#options.channel.hasRoom();
  }

  async #untilSettled(run: JobRun): Promise<void> {
    // A worker that is ending anyway waits for nobody who was told to stop.
    const grace = sleep(this.#clock, STOP_GRACE_MS, this.#closing.signal).then(
      () => "stuck" as const,
      () => "ending" as const,
    );
    if ((await Promise.race([run.call.settled(), grace])) !== "stuck") {
      this.#leave();
      return;
    }
    const { log, onStuck } = this.#options;
    log.error("a function goes on although its time is over; this worker ends to get rid of it", {
      job: run.id,
      hint: "Pass context().signal on, or check signal.aborted in loops.",
    });
    onStuck();
  }

  #release(run: JobRun): void {
    if (this.#held.get(run.id) !== run) return;
    this.#held.delete(run.id);
    this.#options.heartbeat?.releases(run.id);
  }

  #logEnd(run: JobRun, end: JobEnd): void {
    const { log } = this.#options;
    if (end.kind === "dropped") {
      log.info("job stopped", { ...run.call.who });
      return;
    }
    const { posted, error } = end;
    if (posted !== "accepted") log.error(`the result of a job was ${posted}`, { ...run.call.who });
    if (error === undefined || ERRORS[error.code].blame === "caller") return;
    const report = error.details?.error;
    log.error(`job failed: ${error.message}`, {
      ...run.call.who,
      ...(report === undefined ? { code: error.code } : { error: report }),
    });
  }
}

/** After a job that ended the worker: the server does not blame the others for what becomes of them. */
function withFarewell(result: JobResult): JobResult {
  return result.error === undefined
    ? result
    : { ...result, body: { ...result.body, stopPod: true } };
}
