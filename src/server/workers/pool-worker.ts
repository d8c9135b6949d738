/** One worker of a pool: its state, its load, and what is known about it when it ends. */

import type {
  MemoryExcess,
  RunningWorker,
  WorkerExit,
  WorkerLine,
} from "../../contract/compute.ts";
import type { EndpointManifest } from "../../contract/manifest.ts";
import { WORKER_MOVES, mayMove, type WorkerState } from "../../contract/states.ts";
import { WorkerLink } from "./link.ts";

/** One version of an endpoint's code and options, known by the first release that had it. */
export interface Version {
  releaseId: string;
  buildId: string;
  /** Version of the package that built it. */
  builtWith: string;
  /** Folder of the unpacked artifact. */
  artifactDir: string;
  manifest: EndpointManifest;
}

/** The last lines are kept for the reason of a crash. */
const TAIL_LINES = 20;
const TAIL_LINE_LENGTH = 500;
/** Below the reason of a crash inside V8: it would push the reason out. */
const NATIVE_FRAME = /^\s*\d+: 0x[0-9a-f]+ |^----- Native stack trace -----$/;

export class PoolWorker {
  readonly id: string;
  readonly version: Version;
  readonly secret: string;
  /** Monotonic, ms. */
  readonly startedAt: number;
  /** Since when it has had nothing to do; monotonic, ms. */
  idleSince: number;
  /** Requests, or jobs as last read from the store. */
  load = 0;
  /** It has finished a request or a job: a later crash is no failed start. */
  hasServed = false;
  /** It runs the active version. */
  isCurrent = true;
  /** Its environment is no longer what a worker of its version gets. */
  isStale = false;
  /** When it first was ready; monotonic, ms. */
  readyAt: number | undefined;
  /** Why the pool ended it, when it did. */
  endedBecause: string | undefined;
  /** A connection to it broke, and it has not yet said how it is. */
  isSuspect = false;
  /** It was ended for the memory it used: like a crash, it has done that itself. */
  excess: MemoryExcess | undefined;
  /** It is to make room for the memory it uses. */
  isLeaking = false;
  /** SIGTERM or SIGKILL has been sent. */
  isStopping = false;
  #state: WorkerState = "INITIALIZING";
  #running: RunningWorker | undefined;
  #link: WorkerLink | undefined;
  readonly #atEnd: (() => void)[] = [];
  #tail: { stream: WorkerLine["stream"]; text: string }[] = [];

  constructor(identity: { id: string; version: Version; secret: string; now: number }) {
    this.id = identity.id;
    this.version = identity.version;
    this.secret = identity.secret;
    this.startedAt = identity.now;
    this.idleSince = identity.now;
  }

  get state(): WorkerState {
    return this.#state;
  }

  /** Undefined until the process runs. */
  get running(): RunningWorker | undefined {
    return this.#running;
  }

  /** Load-balanced workers only, once the process runs. */
  get link(): WorkerLink | undefined {
    return this.#link;
  }

  /** It may get work. */
  get isReady(): boolean {
    return this.#state === "IDLE" || this.#state === "RUNNING";
  }

  /** It is on its way to being ready, or back. */
  get mayBecomeReady(): boolean {
    return this.#state === "INITIALIZING" || this.#state === "UNHEALTHY";
  }

  /**
   * Why it was ended, when the end was not its own doing. One that leaks, and crashes before it is told
   * to stop, has crashed.
   */
  endFor(exit: WorkerExit): string | undefined {
    const hasLeft = exit.code === 0 && exit.signal === null;
    if (this.excess !== undefined) return undefined;
    if (this.isLeaking && !(this.isStopping || hasLeft)) return undefined;
    return this.endedBecause;
  }

  /** It counts as one of the workers that were asked for. One that is ill is replaced before it ends. */
  get isUp(): boolean {
    return this.isReady || this.isSuspect || this.#state === "INITIALIZING";
  }

  /** Makes a legal move; returns false, and changes nothing, for any other. */
  move(to: WorkerState): boolean {
    if (!mayMove(WORKER_MOVES, this.#state, to)) return false;
    this.#state = to;
    return true;
  }

  attach(running: RunningWorker): void {
    this.#running = running;
    if (running.address !== undefined) this.#link = new WorkerLink(running.address);
  }

  /** One more request. */
  take(): void {
    this.load += 1;
    if (this.#state === "IDLE") this.#state = "RUNNING";
  }

  /** A request is over. */
  give(now: number): void {
    this.load -= 1;
    this.hasServed = true;
    this.#settle(now);
  }

  /** Jobs it has now, as the store says. */
  setLoad(load: number, now: number): void {
    const had = this.load > 0;
    this.load = load;
    if (had && load === 0) this.#settle(now);
    else if (load > 0 && this.#state === "IDLE") this.#state = "RUNNING";
  }

  /** It did something just now. */
  touch(now: number): void {
    this.hasServed = true;
    this.idleSince = now;
  }

  note(line: WorkerLine): void {
    if (NATIVE_FRAME.test(line.text)) return;
    this.#tail.push({ stream: line.stream, text: line.text.slice(0, TAIL_LINE_LENGTH) });
    if (this.#tail.length > TAIL_LINES) this.#tail.shift();
  }

  /** The last words: what it wrote to stderr, otherwise anything. */
  lastWords(): string {
    const errors = this.#tail.filter(({ stream }) => stream === "stderr");
    return (errors.length > 0 ? errors : this.#tail).map(({ text }) => text).join("\n");
  }

  /** Called once, when it has ended. */
  onGone(run: () => void): void {
    this.#atEnd.push(run);
  }

  gone(): void {
    this.#state = "STOPPED";
    this.#link?.close();
    for (const run of this.#atEnd) run();
  }

  #settle(now: number): void {
    if (this.load > 0) return;
    this.idleSince = now;
    if (this.#state === "RUNNING") this.#state = "IDLE";
  }
}
