/**
 * Heartbeats with the ids of the jobs this worker holds. They come from a thread of their own, so that
 * they go on while a function keeps the main thread busy, for hours if need be; and the thread ends the
 * process when such a function does not come to its end (see stuck). The thread is this same program,
 * gets the fields below when it is to begin, and ends with the process.
 *
 * The jobs stand on a board that both threads see, so that neither their start nor their end wakes the
 * other thread. It looks every now and then; only a job whose time is short is announced.
 */

import http from "node:http";
import { Worker, parentPort } from "node:worker_threads";
import { ATTEMPT_HEADER } from "../../contract/worker-env.ts";
import { systemClock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import { Board, readBoard } from "./board.ts";
import { StuckWatch, threadTime, type HeldJob, type StuckReport } from "./stuck.ts";

/** How the program knows that it runs as the thread. */
const AS_THREAD = { flashHeartbeat: true } as const;

/** What the thread begins with. */
export interface HeartbeatData {
  /** Complete but for the changing parameters. */
  url: string;
  key: string;
  intervalMs: number;
  version: string;
  /** Template of the URL that takes a job's failure. */
  postOutput: string;
  report: StuckReport;
  /** The jobs that are held. */
  board: SharedArrayBuffer;
}

/** To the thread: begin, where the board is now, a look at it is needed, or a probe came back. */
type ToThread =
  | { begin: HeartbeatData }
  | { board: SharedArrayBuffer }
  | { look: true }
  | { answer: number };

/** The thread looks at the board this often, ms. */
const LOOK_MS = 250;
/** A job whose time is over earlier than this is announced, ms: the thread has to be there well before. */
const SHORT_MS = 4 * LOOK_MS;

export interface HeartbeatOptions {
  data: Omit<HeartbeatData, "board">;
  /** URL of the running program. */
  runtimeUrl: string;
  /** A thread that has not begun. Default: one is started. */
  thread?: Worker | undefined;
  log: Log;
}

/** A thread that waits to be told what to do. It never delays the exit. */
export function startHeartbeatThread(runtimeUrl: string): Worker {
  const thread = new Worker(new URL(runtimeUrl), { workerData: AS_THREAD, execArgv: [] });
  thread.unref();
  return thread;
}

/** The main thread's side. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  readonly #board = new Board((board) => tell(this.#thread, { board }));
  #thread: Worker | undefined;
  #isClosed = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#begin(options.thread ?? startHeartbeatThread(options.runtimeUrl));
  }

  /** From now on the job is alive. Takes effect although the main thread may be busy right after. */
  holds(job: HeldJob): void {
    this.#board.put(job.id, job);
    const isShort = job.overAt !== undefined && job.overAt - threadTime() < SHORT_MS;
    if (isShort) tell(this.#thread, { look: true });
  }

  releases(jobId: string): void {
    this.#board.remove(jobId);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#thread?.terminate();
  }

  #begin(thread: Worker): void {
    const { data, runtimeUrl, log } = this.#options;
    tell(thread, { begin: { ...data, board: this.#board.memory } });
    thread.on("message", (number: number) => tell(thread, { answer: number }));
    thread.on("error", (error) => log.error("the heartbeat failed", { error: error.message }));
    thread.once("exit", () => {
      if (this.#isClosed) return;
      log.warn("the heartbeat ended; it is started again");
      systemClock.after(1000, () => this.#begin(startHeartbeatThread(runtimeUrl)));
    });
    this.#thread = thread;
  }
}

function tell(thread: Worker | undefined, message: ToThread): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  thread?.postMessage(message);
}

/** True when this program was started as the heartbeat's thread. */
export function isHeartbeat(data: unknown): boolean {
  return typeof data === "object" && data !== null && "flashHeartbeat" in data;
}

/** The thread: waits for its beginning. */
export function runHeartbeat(): void {
  const begin = (message: ToThread): void => {
    if (!("begin" in message)) return;
    parentPort?.off("message", begin);
    beat(message.begin);
  };
  parentPort?.on("message", begin);
}

/** Pings now and in every interval. A ping that fails is followed by the next one. */
function beat(data: HeartbeatData): void {
  let { board } = data;
  const held = (): HeldJob[] => readBoard<HeldJob>(board);
  let isPinging = false;
  const ping = (): void => {
    // A slow answer delays the next ping instead of piling them up; the timeout bounds the delay.
    if (isPinging) return;
    isPinging = true;
    const ids = held().map(({ id }) => id);
    void sendPing(data, ids).finally(() => (isPinging = false));
  };
  const watch = new StuckWatch({
    report: data.report,
    held,
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    probe: (number) => parentPort?.postMessage(number),
    post: (job, body) => postFailure(data, job, body),
  });
  parentPort?.on("message", (message: ToThread) => {
    if ("answer" in message) watch.answer(message.answer);
    else if (!("begin" in message)) {
      if ("board" in message) board = message.board;
      watch.look();
    }
  });
  setInterval(() => watch.look(), LOOK_MS);
  setInterval(ping, data.intervalMs);
  ping();
}

async function sendPing(data: HeartbeatData, ids: readonly string[]): Promise<void> {
  const { url, version } = data;
  const query = new URLSearchParams({
    ...(ids.length === 0 ? {} : { job_id: ids.join(",") }),
    runpod_version: version,
    // Of the whole process: when it is killed, this says what it had used.
    peak_memory: String(process.resourceUsage().maxRSS * 1024),
  });
  await send(data, {
    method: "GET",
    url: `${url}${url.includes("?") ? "&" : "?"}${query.toString()}`,
  });
}

/** As the main thread would. True when a server has answered, whatever it thinks of it. */
function postFailure(
  data: HeartbeatData,
  { id, attempt }: HeldJob,
  body: Record<string, unknown>,
): Promise<boolean> {
  return send(data, {
    method: "POST",
    url: data.postOutput.replaceAll("$ID", encodeURIComponent(id)),
    body: JSON.stringify(body),
    headers: attempt === undefined ? {} : { [ATTEMPT_HEADER]: String(attempt) },
  });
}

interface Sending {
  method: "GET" | "POST";
  url: string;
  body?: string;
  headers?: Record<string, string>;
}

/** True when there was an answer. */
async function send(
  { key, intervalMs }: HeartbeatData,
  { method, url, body, headers = {} }: Sending,
): Promise<boolean> {
  const { request } = url.startsWith("https:") ? await import("node:https") : http;
  return await new Promise<boolean>((resolve) => {
    let isAnswered = false;
    const sent = request(url, {
      method,
      timeout: intervalMs * 2,
      headers: {
        authorization: key,
        ...headers,
        ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }),
      },
    });
    sent.once("response", (response) => {
      isAnswered = (response.statusCode ?? 500) < 500;
      response.resume();
    });
    sent.once("timeout", () => sent.destroy());
    sent.on("error", () => undefined);
    sent.once("close", () => resolve(isAnswered));
    sent.end(body);
  });
}
