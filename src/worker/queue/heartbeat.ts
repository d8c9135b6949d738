/**
 * Heartbeats with the ids of the jobs this worker holds. They come from a thread of their own, so that
 * they go on while a function keeps the main thread busy, for hours if need be; and the thread ends the
 * process when such a function does not come to its end (see stuck). The thread is this same program,
 * started with the fields below, and ends with the process.
 */

import http from "node:http";
import { Worker, parentPort } from "node:worker_threads";
import { ATTEMPT_HEADER } from "../../contract/worker-env.ts";
import { systemClock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import { StuckWatch, type HeldJob, type StuckReport } from "./stuck.ts";

/** What the thread is started with. */
export interface HeartbeatData {
  flashHeartbeat: true;
  /** Complete but for the changing parameters. */
  url: string;
  key: string;
  intervalMs: number;
  version: string;
  /** Template of the URL that takes a job's failure. */
  postOutput: string;
  report: StuckReport;
}

/** To the thread: the jobs that are held, or a probe that came back. */
type ToThread = { held: HeldJob[] } | { answer: number };

export interface HeartbeatOptions {
  data: HeartbeatData;
  /** URL of the running program. */
  runtimeUrl: string;
  log: Log;
}

/** The main thread's side. */
export class Heartbeat {
  readonly #options: HeartbeatOptions;
  #thread: Worker | undefined;
  #held: HeldJob[] = [];
  #isClosed = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#start();
  }

  /** From now on these jobs are alive. Takes effect although the main thread may be busy right after. */
  holds(jobs: Iterable<HeldJob>): void {
    this.#held = [...jobs];
    tell(this.#thread, { held: this.#held });
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#thread?.terminate();
  }

  #start(): void {
    const { data, runtimeUrl, log } = this.#options;
    const thread = new Worker(new URL(runtimeUrl), { workerData: data, execArgv: [] });
    thread.on("message", (number: number) => tell(thread, { answer: number }));
    // It never delays the exit.
    thread.unref();
    thread.on("error", (error) => log.error("the heartbeat failed", { error: error.message }));
    thread.once("exit", () => {
      if (this.#isClosed) return;
      log.warn("the heartbeat ended; it is started again");
      systemClock.after(1000, () => this.#start());
    });
    this.#thread = thread;
    tell(thread, { held: this.#held });
  }
}

function tell(thread: Worker | undefined, message: ToThread): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  thread?.postMessage(message);
}

/** True when this program was started as the heartbeat's thread. */
export function isHeartbeatData(data: unknown): data is HeartbeatData {
  return typeof data === "object" && data !== null && "flashHeartbeat" in data;
}

/** The thread: pings now and in every interval. A ping that fails is followed by the next one. */
export function beat(data: HeartbeatData): void {
  let ids: string[] | undefined;
  let isPinging = false;
  const ping = (): void => {
    // A slow answer delays the next ping instead of piling them up; the timeout bounds the delay.
    if (isPinging || ids === undefined) return;
    isPinging = true;
    void sendPing(data, ids).finally(() => (isPinging = false));
  };
  const watch = new StuckWatch({
    report: data.report,
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
    probe: (number) => parentPort?.postMessage(number),
    post: (job, body) => postFailure(data, job, body),
  });
  parentPort?.on("message", (message: ToThread) => {
    if ("answer" in message) {
      watch.answer(message.answer);
      return;
    }
    // A ping before the first message would claim that nothing runs.
    const isFirst = ids === undefined;
    ids = message.held.map(({ id }) => id);
    watch.watch(message.held);
    if (isFirst) ping();
  });
  setInterval(ping, data.intervalMs);
}

async function sendPing(data: HeartbeatData, ids: readonly string[]): Promise<void> {
  const { url, version } = data;
  const query = new URLSearchParams({
    ...(ids.length === 0 ? {} : { job_id: ids.join(",") }),
    runpod_version: version,
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
