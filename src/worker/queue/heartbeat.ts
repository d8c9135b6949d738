/**
 * Heartbeats with the ids of the jobs this worker holds. They come from a thread of their own, so that
 * they go on while a function keeps the main thread busy, for hours if need be. The thread is this
 * same program, started with the fields below, and ends with the process.
 */

import http from "node:http";
import { Worker, parentPort } from "node:worker_threads";
import { systemClock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";

/** What the thread is started with. */
export interface HeartbeatData {
  flashHeartbeat: true;
  /** Complete but for the changing parameters. */
  url: string;
  key: string;
  intervalMs: number;
  version: string;
}

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
  #ids: string[] = [];
  #isClosed = false;

  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#start();
  }

  /** From now on these jobs are alive. Takes effect although the main thread may be busy right after. */
  holds(ids: Iterable<string>): void {
    this.#ids = [...ids];
    tell(this.#thread, this.#ids);
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    await this.#thread?.terminate();
  }

  #start(): void {
    const { data, runtimeUrl, log } = this.#options;
    const thread = new Worker(new URL(runtimeUrl), { workerData: data, execArgv: [] });
    // It never delays the exit.
    thread.unref();
    thread.on("error", (error) => log.error("the heartbeat failed", { error: error.message }));
    thread.once("exit", () => {
      if (this.#isClosed) return;
      log.warn("the heartbeat ended; it is started again");
      systemClock.after(1000, () => this.#start());
    });
    this.#thread = thread;
    tell(thread, this.#ids);
  }
}

function tell(thread: Worker | undefined, ids: string[]): void {
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread, not a window
  thread?.postMessage(ids);
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
  parentPort?.on("message", (message: string[]) => {
    // A ping before the first message would claim that nothing runs.
    const isFirst = ids === undefined;
    ids = message;
    if (isFirst) ping();
  });
  setInterval(ping, data.intervalMs);
}

async function sendPing(data: HeartbeatData, ids: readonly string[]): Promise<void> {
  const { url, key, intervalMs, version } = data;
  const query = new URLSearchParams({
    ...(ids.length === 0 ? {} : { job_id: ids.join(",") }),
    runpod_version: version,
  });
  const full = `${url}${url.includes("?") ? "&" : "?"}${query.toString()}`;
  const { request } = url.startsWith("https:") ? await import("node:https") : http;
  await new Promise<void>((resolve) => {
    const ping = request(full, { headers: { authorization: key }, timeout: intervalMs * 2 });
    ping.once("response", (response) => response.resume());
    ping.once("timeout", () => ping.destroy());
    ping.on("error", () => undefined);
    ping.once("close", resolve);
    ping.end();
  });
}
