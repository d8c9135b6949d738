/**
 * The worker protocol from the worker's side, one method a call. It works against a Flash server and
 * against Runpod. Source: spec/worker-protocol.md.
 */

import http, { type IncomingMessage } from "node:http";
import type https from "node:https";
import { ATTEMPT_HEADER, CHUNK_HEADER } from "../../contract/worker-env.ts";
import { backoffMs } from "../../kit/backoff.ts";
import { sleep, systemClock, type Clock } from "../../kit/clock.ts";
import { withWorker, type QueueSettings } from "../settings.ts";
import { POST_PATIENCE_MS, type JobMessage, type Post, type Posted } from "./channel.ts";

/** A poll without an answer is given up, ms. Servers hold theirs for less. */
const POLL_TIMEOUT_MS = 90_000;
const POST_TIMEOUT_MS = 60_000;
const POST_BACKOFF = { baseMs: 100, factor: 2, capMs: 3000, jitter: 0.2 };

export type Polled<T> =
  | { kind: "got"; value: T }
  | { kind: "nothing" }
  | { kind: "throttled" }
  | { kind: "failed"; reason: string };

interface Answer {
  status: number;
  text: string;
}

interface Sending {
  method: "GET" | "POST";
  url: string;
  timeoutMs: number;
  headers?: Record<string, string>;
  body?: string;
  signal?: AbortSignal;
}

export class QueueProtocol {
  readonly #settings: QueueSettings;
  readonly #clock: Clock;
  readonly #agent = new http.Agent({ keepAlive: true });
  readonly #userAgent: string;
  #secure: Promise<{ module: typeof https; agent: https.Agent }> | undefined;

  constructor(settings: QueueSettings, userAgent: string, clock: Clock = systemClock) {
    this.#settings = settings;
    this.#userAgent = userAgent;
    this.#clock = clock;
  }

  /** Waits for up to `slots` jobs. Aborting gives up unless an answer has already begun. */
  async take(
    slots: number,
    { isBusy, signal }: { isBusy: boolean; signal: AbortSignal },
  ): Promise<Polled<JobMessage[]>> {
    const single = withWorker(this.#settings.getJob, this.#settings.workerId);
    const plain =
      slots > 1
        ? withQuery(single.replace("/job-take/", "/job-take-batch/"), { batch_size: String(slots) })
        : single;
    const url = withQuery(plain, { job_in_progress: isBusy ? "1" : "0" });
    const polled = await this.#poll(url, signal);
    if (polled.kind !== "got") return polled;
    const offered = Array.isArray(polled.value) ? (polled.value as unknown[]) : [polled.value];
    const jobs = offered.filter(isJob);
    if (jobs.length < offered.length) {
      return jobs.length > 0
        ? { kind: "got", value: jobs }
        : { kind: "failed", reason: "the server sent a job without 'id' or 'input'" };
    }
    return jobs.length > 0 ? { kind: "got", value: jobs } : { kind: "nothing" };
  }

  /** Waits for ids of jobs that should stop. Undefined when the server has no such channel. */
  get hasStopChannel(): boolean {
    return this.#settings.getJob.includes("/job-take/");
  }

  async stops(signal: AbortSignal): Promise<Polled<string[]>> {
    const url = withWorker(this.#settings.getJob, this.#settings.workerId).replace(
      "/job-take/",
      "/job-stop/",
    );
    const polled = await this.#poll(url, signal);
    if (polled.kind !== "got") return polled;
    const ids: unknown = (polled.value as { jobsToStop?: unknown } | null)?.jobsToStop;
    const stops = Array.isArray(ids) ? ids.filter((id) => typeof id === "string") : [];
    return stops.length > 0 ? { kind: "got", value: stops } : { kind: "nothing" };
  }

  /** Posts a result or a progress value. Tries again while the server is away. */
  postOutput(post: Post): Promise<Posted> {
    return this.#post(this.#settings.postOutput, post);
  }

  /** Posts one streamed value. */
  postChunk(post: Post): Promise<Posted> {
    return this.#post(this.#settings.postStream, post);
  }

  close(): void {
    this.#agent.destroy();
    void this.#secure?.then(({ agent }) => agent.destroy());
  }

  async #poll(url: string, signal: AbortSignal): Promise<Polled<unknown>> {
    try {
      const answer = await this.#send({ method: "GET", url, timeoutMs: POLL_TIMEOUT_MS, signal });
      if (answer.status === 200) return readAnswer(answer.text);
      // 400 is what the platform answers a parked worker: no job.
      if (answer.status === 204 || answer.status === 400) return { kind: "nothing" };
      if (answer.status === 429) return { kind: "throttled" };
      return { kind: "failed", reason: `the server answered ${answer.status}` };
    } catch (error) {
      return { kind: "failed", reason: (error as Error).message };
    }
  }

  async #post(template: string, { jobId, attempt, body, isStream, number }: Post): Promise<Posted> {
    const sending: Sending = {
      method: "POST",
      url: withQuery(this.#jobUrl(template, jobId), { isStream: String(isStream === true) }),
      timeoutMs: POST_TIMEOUT_MS,
      body: JSON.stringify(body),
      headers: {
        "content-type": "application/json",
        "x-request-id": jobId,
        ...(attempt === undefined ? {} : { [ATTEMPT_HEADER]: String(attempt) }),
        ...(number === undefined ? {} : { [CHUNK_HEADER]: String(number) }),
      },
    };
    const start = this.#clock.elapsed();
    for (let tries = 0; ; tries++) {
      const status = await this.#send(sending).then(
        (answer) => answer.status,
        () => undefined,
      );
      if (status !== undefined && status < 400) return "accepted";
      if (status !== undefined && status < 500 && status !== 429) return "refused";
      if (this.#clock.elapsed() - start > POST_PATIENCE_MS) return "lost";
      await sleep(this.#clock, backoffMs(POST_BACKOFF, tries));
    }
  }

  async #send(sending: Sending): Promise<Answer> {
    const { method, url, timeoutMs, body, signal } = sending;
    if (signal?.aborted === true) throw signal.reason as Error;
    const { module, agent } = await this.#transport(url);
    return new Promise((resolve, reject) => {
      const request = module.request(url, {
        method,
        agent,
        timeout: timeoutMs,
        headers: {
          // The protocol's key has no scheme.
          authorization: this.#settings.key,
          "user-agent": this.#userAgent,
          accept: "application/json",
          ...sending.headers,
          ...(body === undefined ? {} : { "content-length": String(Buffer.byteLength(body)) }),
        },
      });
      let hasBegun = false;
      const onAbort = (): void => {
        // A job may be on its way in an answer that has begun: it is ours, so it is read.
        if (!hasBegun) request.destroy(new Error("aborted"));
      };
      signal?.addEventListener("abort", onAbort, { once: true });
      request.once("close", () => signal?.removeEventListener("abort", onAbort));
      request.once("timeout", () => request.destroy(new Error(`no answer within ${timeoutMs} ms`)));
      request.on("error", reject);
      request.once("response", (response) => {
        hasBegun = true;
        readText(response).then(resolve, reject);
      });
      request.end(body);
    });
  }

  /** TLS is loaded for servers that have it. */
  async #transport(
    url: string,
  ): Promise<{ module: typeof http | typeof https; agent: http.Agent }> {
    if (!url.startsWith("https:")) return { module: http, agent: this.#agent };
    this.#secure ??= import("node:https").then(({ default: module }) => ({
      module,
      agent: new module.Agent({ keepAlive: true }),
    }));
    return await this.#secure;
  }

  #jobUrl(template: string, jobId: string): string {
    return template
      .replaceAll("$RUNPOD_POD_ID", encodeURIComponent(this.#settings.workerId))
      .replaceAll("$ID", encodeURIComponent(jobId));
  }
}

/** Appends to a template, which may or may not have a query of its own. */
export function withQuery(url: string, values: Record<string, string>): string {
  const query = new URLSearchParams(values).toString();
  return `${url}${url.includes("?") ? "&" : "?"}${query}`;
}

async function readText(response: IncomingMessage): Promise<Answer> {
  response.setEncoding("utf8");
  let text = "";
  for await (const chunk of response) text += chunk as string;
  return { status: response.statusCode ?? 0, text };
}

function readAnswer(text: string): Polled<unknown> {
  if (text.trim() === "") return { kind: "nothing" };
  try {
    return { kind: "got", value: JSON.parse(text) as unknown };
  } catch {
    return { kind: "failed", reason: "the server's answer is not JSON" };
  }
}

function isJob(value: unknown): value is JobMessage {
  if (typeof value !== "object" || value === null) return false;
  return typeof (value as JobMessage).id === "string" && "input" in value;
}
