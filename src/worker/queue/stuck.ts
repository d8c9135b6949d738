/**
 * Functions that never give the main thread back: an endless loop hears no signal and no timer. The
 * heartbeat's thread notices when a job's time is over and the main thread does not answer, asks the
 * main thread where it is (the debugger can interrupt a loop), posts the job's failure with that place,
 * and kills the process with everything it has started.
 *
 *   probe   a number that the main thread sends back as long as it runs its events
 *   place   the stack of the main thread, in positions of the original sources
 */

import { readFileSync, writeSync } from "node:fs";
import { SourceMap, type SourceMapping } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { FlashError } from "../../contract/errors.ts";
import { sleep, systemClock } from "../../kit/clock.ts";
import { jobFailureBody } from "../failure.ts";
import { cleanStack, type StackStyle } from "../stack.ts";

/** A job that the main thread holds. */
export interface HeldJob {
  id: string;
  attempt: number | undefined;
  /** When its time is over, on {@link threadTime}; undefined when it has no limit. */
  overAt: number | undefined;
  /** What is said then. */
  text: string;
}

/** What the thread has to know to report for the main thread. */
export interface StuckReport {
  workerId: string;
  version: string;
  style: StackStyle;
  bundlePath: string;
}

export interface StuckWatchOptions {
  report: StuckReport;
  /** The jobs that the main thread holds now. */
  held: () => HeldJob[];
  /** Asks the main thread to send this number back. */
  probe: (number: number) => void;
  /** Posts a job's failure. True when a server has answered. */
  post: (job: HeldJob, body: Record<string, unknown>) => Promise<boolean>;
}

/** The main thread answers within this time, or is busy, ms. Short: the kill is to be on time. */
const ANSWER_MS = 60;
/**
 * A main thread that is busy this long before a job's time is over is asked where it is, ms. Then the
 * answer is there in time, however slow the machine is.
 */
const AHEAD_MS = 400;
/**
 * No place by then: it ends without one, ms after its time. So it is for native code, which cannot be
 * interrupted. A loop on a busy machine needs a part of this; the server itself ends workers after 1 s.
 */
const LATE_MS = 500;
const POST_AGAIN_MS = 100;
/** Frames of the stack that are told. */
const MAX_FRAMES = 10;

/** Monotonic ms, the same in all threads of the process: `performance.now()` is not. */
export function threadTime(): number {
  return Number(process.hrtime.bigint() / 1000n) / 1000;
}

/** The thread's side. */
export class StuckWatch {
  readonly #options: StuckWatchOptions;
  readonly #timers = new Map<string, () => void>();
  #held = new Map<string, HeldJob>();
  #probes = 0;
  #answered = 0;
  #isEnding = false;

  constructor(options: StuckWatchOptions) {
    this.#options = options;
  }

  /** Looks which jobs are held now. */
  look(): void {
    this.#held = new Map(this.#options.held().map((job) => [keyOf(job), job]));
    for (const [key, cancel] of this.#timers) {
      if (this.#held.has(key)) continue;
      cancel();
      this.#timers.delete(key);
    }
    for (const [key, job] of this.#held) {
      if (job.overAt === undefined || this.#timers.has(key)) continue;
      const waitMs = Math.max(0, job.overAt - AHEAD_MS - threadTime());
      this.#timers.set(
        key,
        systemClock.after(waitMs, () => void this.#timeIsNear(key)),
      );
    }
  }

  /** The main thread has sent a probe back. */
  answer(number: number): void {
    this.#answered = Math.max(this.#answered, number);
  }

  /** A job's time is about to be over. The main thread ends it, if it can. */
  async #timeIsNear(key: string): Promise<void> {
    const { report } = this.#options;
    this.look();
    const overAt = this.#held.get(key)?.overAt;
    if (overAt === undefined) return;
    const askPlace = (): Promise<string[]> =>
      placeOfMainThread(report, Math.max(overAt, threadTime()) + LATE_MS);
    let frames: string[] | undefined;
    if (!(await this.#answers())) frames = await askPlace();
    await sleep(systemClock, Math.max(0, overAt - threadTime()));
    if ((await this.#answers()) || this.#isEnding) return;
    this.look();
    const job = this.#held.get(key);
    if (job === undefined) return;
    this.#isEnding = true;
    // It was not busy then. Who has been asked in vain is not asked again.
    frames ??= await askPlace();
    await this.#end(job, frames);
  }

  /** True when the main thread runs its events. */
  async #answers(): Promise<boolean> {
    const number = ++this.#probes;
    this.#options.probe(number);
    await sleep(systemClock, ANSWER_MS);
    return this.#answered >= number;
  }

  async #end(job: HeldJob, frames: readonly string[]): Promise<void> {
    const { report, post } = this.#options;
    const error = errorOf(job, frames);
    // Past the main thread, whose own output is as stuck as it is.
    const time = new Date().toISOString();
    const line = {
      time,
      level: "error",
      message: `${error.message} This worker ends.`,
      job: job.id,
    };
    writeSync(2, `${JSON.stringify(line)}\n`);
    // No other job of this worker has done it: the server is told that the worker ends.
    const body = { ...jobFailureBody(error, report), stopPod: true };
    while (!(await post(job, body))) {
      await sleep(systemClock, POST_AGAIN_MS);
    }
    killGroup();
  }
}

function keyOf({ id, attempt }: HeldJob): string {
  return `${id} ${attempt ?? ""}`;
}

function errorOf({ text }: HeldJob, frames: readonly string[]): FlashError {
  const [first] = frames;
  const place = first === undefined ? "" : ` It was busy ${first.trim()}.`;
  const error = new FlashError("EXECUTION_TIMEOUT", `${text}${place}`);
  error.stack = [`${error.name}: ${error.message}`, ...frames].join("\n");
  return error;
}

/** With everything the function has started, where the worker leads its process group. */
function killGroup(): void {
  try {
    process.kill(-process.pid, "SIGKILL");
  } catch {
    process.kill(process.pid, "SIGKILL");
  }
}

// Where the main thread is.

interface CallFrame {
  functionName: string;
  location: { scriptId: string; lineNumber: number; columnNumber?: number | undefined };
}

/** Where things are: names of scripts, and the map of the endpoint's bundle. */
interface Sources {
  urls: ReadonlyMap<string, string>;
  bundlePath: string;
  map: SourceMap | undefined;
}

/** The frames of user code as lines of a stack; none when nobody can tell until `lastAt`. */
async function placeOfMainThread(
  { bundlePath, style }: StuckReport,
  lastAt: number,
): Promise<string[]> {
  const { Session } = await import("node:inspector");
  const session = new Session();
  const urls = new Map<string, string>();
  try {
    session.connectToMainThread();
    const paused = Promise.withResolvers<readonly CallFrame[]>();
    // The frames themselves come without names of files.
    session.on("Debugger.scriptParsed", ({ params }) => urls.set(params.scriptId, params.url));
    session.once("Debugger.paused", ({ params }) => paused.resolve(params.callFrames));
    session.post("Debugger.enable");
    session.post("Debugger.pause");
    const late = sleep(systemClock, Math.max(0, lastAt - threadTime())).then(() => []);
    const frames = await Promise.race([paused.promise, late]);
    return linesOf(frames, { urls, bundlePath, map: readMap(bundlePath) }, style);
  } catch {
    // A Node without an inspector, or a debugger of somebody else's.
    return [];
  } finally {
    session.disconnect();
  }
}

function linesOf(frames: readonly CallFrame[], sources: Sources, style: StackStyle): string[] {
  const lines = frames.slice(0, MAX_FRAMES).map((frame) => {
    const place = placeOf(frame, sources);
    return frame.functionName === ""
      ? `    at ${place}`
      : `    at ${frame.functionName} (${place})`;
  });
  const cleaned = cleanStack(lines.join("\n"), style);
  return cleaned === "" ? [] : cleaned.split("\n");
}

function placeOf({ location }: CallFrame, { urls, bundlePath, map }: Sources): string {
  const { lineNumber, columnNumber = 0 } = location;
  const url = urls.get(location.scriptId) ?? "";
  const file = url.startsWith("file:") ? fileURLToPath(url) : url;
  const entry = file === bundlePath ? map?.findEntry(lineNumber, columnNumber) : undefined;
  if (!isMapped(entry)) return `${file}:${lineNumber + 1}:${columnNumber + 1}`;
  const source = path.resolve(path.dirname(bundlePath), entry.originalSource);
  return `${source}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
}

/** Code that no source has gets an empty entry. */
function isMapped(entry: SourceMapping | object | undefined): entry is SourceMapping {
  return entry !== undefined && "originalSource" in entry;
}

function readMap(bundlePath: string): SourceMap | undefined {
  try {
    return new SourceMap(JSON.parse(readFileSync(`${bundlePath}.map`, "utf8")));
  } catch {
    // Bundles may come without a map.
    return undefined;
  }
}
