/**
 * Jobs over a link to a Flash server, see contract/job-link.ts. The server sends a job the moment it
 * has one and there is room here; results of one turn of the event loop travel together.
 *
 * Invariants:
 *   L1  the server is never given more slots than there is room for;
 *   L2  a post is kept until it is acknowledged, and sent again on every new link;
 *   L3  while the server does not keep up with results, it gets no slots.
 */

import http from "node:http";
import type { Duplex } from "node:stream";
import {
  LINK_PROTOCOL,
  LineReader,
  MAX_FRAME_CHARACTERS,
  drainFrame,
  helloFrame,
  postFrame,
  readServerFrame,
  slotsFrame,
  type PostKind,
} from "../../contract/job-link.ts";
import { LIMITS } from "../../contract/limits.ts";
import { deferred } from "../../kit/abort.ts";
import { backoffMs } from "../../kit/backoff.ts";
import { sleep, systemClock, type Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import {
  POST_PATIENCE_MS,
  type JobChannel,
  type JobReceiver,
  type Post,
  type Posted,
} from "./channel.ts";

const RECONNECT_BACKOFF = { baseMs: 100, factor: 2, capMs: 3000, jitter: 0.2 };
/** An upgrade that is not answered is given up, ms. */
const CONNECT_TIMEOUT_MS = 10_000;
/** A server that does not answer `drain` has gone: what it sends later is not taken any more, ms. */
const DRAIN_PATIENCE_MS = 5000;
/** With more than this under way to the server no jobs are asked for, characters. */
const MAX_UNACKNOWLEDGED = 32 * 1024 * 1024;

export interface LinkOptions {
  url: string;
  key: string;
  userAgent: string;
  log: Log;
  clock?: Clock;
}

interface Unacknowledged {
  frame: string;
  resolve: (posted: Posted) => void;
}

export class LinkChannel implements JobChannel {
  readonly #options: LinkOptions;
  readonly #clock: Clock;
  readonly #closing = new AbortController();
  readonly #unacknowledged = new Map<string, Unacknowledged>();
  #unacknowledgedCharacters = 0;
  #receiver: JobReceiver | undefined;
  #connecting: Promise<void> = Promise.resolve();
  #socket: Duplex | undefined;
  /** What this turn of the event loop has to say. */
  #out = "";
  #isFlushPlanned = false;
  /** Slots that the server has and no job has used. */
  #granted = 0;
  #failures = 0;
  /** Since when there is no link; monotonic, ms. */
  #lostAt = 0;
  /** Set once no job is wanted any more. */
  #drained: ReturnType<typeof deferred<void>> | undefined;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  start(receiver: JobReceiver): void {
    this.#receiver = receiver;
    this.#lostAt = this.#clock.elapsed();
    this.#connecting = this.#connect();
  }

  hasRoom(): void {
    this.#planFlush();
  }

  postOutput({ jobId, attempt, body }: Post): Promise<Posted> {
    if (body["status"] === "IN_PROGRESS") {
      return this.#post("progress", { jobId, attempt }, body["output"]);
    }
    return body["error"] === undefined
      ? this.#post("done", { jobId, attempt }, body["output"])
      : this.#post("failed", { jobId, attempt }, body);
  }

  postChunk({ jobId, attempt, body, number }: Post): Promise<Posted> {
    return this.#post("chunk", { jobId, attempt, number }, body["output"]);
  }

  async stopTaking(): Promise<void> {
    if (this.#drained === undefined) {
      this.#drained = deferred<void>();
      if (this.#socket === undefined) this.#drained.resolve();
      else this.#send(drainFrame());
    }
    const patience = new AbortController();
    const tired = sleep(this.#clock, DRAIN_PATIENCE_MS, patience.signal).then(
      () => this.#socket?.destroy(),
      () => undefined,
    );
    await Promise.race([this.#drained.promise, tired]);
    patience.abort();
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error("the worker has ended"));
    this.#flush();
    this.#socket?.destroy();
    await this.#connecting;
  }

  // The connection.

  /** Tries until there is a link or the end. */
  async #connect(): Promise<void> {
    const { log } = this.#options;
    const { signal } = this.#closing;
    while (!signal.aborted) {
      try {
        this.#open(await this.#upgrade(signal));
        return;
      } catch (error) {
        if (signal.aborted) return;
        if (this.#failures === 0) {
          log.warn("the link to the server failed", { reason: (error as Error).message });
        }
        this.#giveUpPosts();
        const pauseMs = backoffMs(RECONNECT_BACKOFF, this.#failures++);
        await sleep(this.#clock, pauseMs, signal).catch(() => undefined);
      }
    }
  }

  async #upgrade(signal: AbortSignal): Promise<{ socket: Duplex; head: Buffer }> {
    const { url, key, userAgent } = this.#options;
    // TLS is loaded for servers that have it.
    const { request } = url.startsWith("https:") ? await import("node:https") : http;
    return await new Promise((resolve, reject) => {
      const upgrade = request(url, {
        agent: false,
        signal,
        timeout: CONNECT_TIMEOUT_MS,
        headers: {
          authorization: key,
          "user-agent": userAgent,
          connection: "Upgrade",
          upgrade: LINK_PROTOCOL,
        },
      });
      upgrade.once("timeout", () => upgrade.destroy(new Error("the server does not answer")));
      upgrade.on("error", reject);
      upgrade.once("response", (response) => {
        response.resume();
        reject(new Error(`the server answered ${response.statusCode}`));
      });
      upgrade.once("upgrade", (_, socket, head) => {
        socket.setTimeout(0);
        resolve({ socket, head });
      });
      upgrade.end();
    });
  }

  #open({ socket, head }: { socket: Duplex; head: Buffer }): void {
    const receiver = this.#receiver;
    if (receiver === undefined || this.#closing.signal.aborted) {
      socket.destroy();
      return;
    }
    const reader = new LineReader();
    const decoder = new TextDecoder();
    this.#socket = socket;
    socket.on("error", () => socket.destroy());
    socket.once("close", () => this.#lost(socket));
    socket.on("data", (bytes: Buffer) =>
      this.#read(reader, decoder.decode(bytes, { stream: true })),
    );
    this.#granted = this.#grantable();
    const posts = [...this.#unacknowledged.values()].map(({ frame }) => frame); // L2
    this.#out = helloFrame([...receiver.held], this.#granted) + posts.join("");
    if (this.#drained !== undefined) this.#out += drainFrame();
    this.#flush();
    if (head.length > 0) socket.unshift(head);
  }

  #lost(socket: Duplex): void {
    if (this.#socket !== socket) return;
    this.#socket = undefined;
    [this.#out, this.#granted] = ["", 0];
    // Jobs that were on their way are not ours: the next hello does not name them.
    this.#drained?.resolve();
    if (this.#closing.signal.aborted) return;
    this.#lostAt = this.#clock.elapsed();
    this.#connecting = this.#connect();
  }

  // What comes.

  #read(reader: LineReader, text: string): void {
    try {
      for (const line of reader.read(text)) this.#understand(line);
    } catch (error) {
      this.#options.log.error("the link to the server is closed", {
        reason: (error as Error).message,
      });
      this.#socket?.destroy();
    }
  }

  #understand(line: string): void {
    const frame = readServerFrame(line);
    if (frame === undefined) throw new Error("the server sent what is no frame");
    if (this.#failures > 0) {
      this.#failures = 0;
      this.#options.log.info("the link to the server works again");
    }
    if (frame.kind === "ack") this.#acknowledged(frame.jobId);
    else if (frame.kind === "drained") this.#drained?.resolve();
    else if (frame.kind === "stop") for (const id of frame.jobIds) this.#receiver?.stop(id);
    else {
      this.#granted--;
      this.#receiver?.give(frame.message as typeof frame.message & { input: unknown });
    }
  }

  #acknowledged(jobId: string): void {
    const post = this.#unacknowledged.get(jobId);
    if (post === undefined) return;
    this.#forget(jobId, post);
    post.resolve("accepted");
    if (this.#granted === 0) this.#planFlush();
  }

  // What goes.

  #post(
    post: PostKind,
    { jobId, attempt, number }: Pick<Post, "jobId" | "attempt"> & { number?: number | undefined },
    value: unknown,
  ): Promise<Posted> {
    const { promise, resolve } = deferred<Posted>();
    // An attempt without a number is none of this server's: it says so.
    const about = { jobId, attempt: attempt ?? 0 };
    const text = JSON.stringify(value ?? null);
    const frame =
      text.length + jobId.length < MAX_FRAME_CHARACTERS - 100
        ? postFrame({ post, ...about, number, text })
        : postFrame({ post: "failed", ...about, text: tooLarge(text) });
    const earlier = this.#unacknowledged.get(jobId);
    if (earlier !== undefined) {
      // Of an attempt that was stopped: the job has come here again.
      this.#forget(jobId, earlier);
      earlier.resolve("lost");
    }
    this.#unacknowledged.set(jobId, { frame, resolve });
    this.#unacknowledgedCharacters += frame.length;
    if (this.#socket === undefined) this.#giveUpPosts();
    else this.#send(frame);
    return promise;
  }

  /** Nobody wants them within the time that a result is offered for. */
  #giveUpPosts(): void {
    if (this.#clock.elapsed() - this.#lostAt < POST_PATIENCE_MS) return;
    for (const [jobId, post] of this.#unacknowledged) {
      this.#forget(jobId, post);
      post.resolve("lost");
    }
  }

  #forget(jobId: string, { frame }: Unacknowledged): void {
    this.#unacknowledged.delete(jobId);
    this.#unacknowledgedCharacters -= frame.length;
  }

  #send(frame: string): void {
    this.#out += frame;
    this.#planFlush();
  }

  #planFlush(): void {
    if (this.#isFlushPlanned) return;
    this.#isFlushPlanned = true;
    // After everything that follows from what has come in: one write for all of it.
    process.nextTick(() => {
      this.#isFlushPlanned = false;
      this.#grant();
      this.#flush();
    });
  }

  #grant(): void {
    const more = this.#grantable() - this.#granted;
    if (this.#socket === undefined || more <= 0) return;
    this.#granted += more;
    this.#out += slotsFrame(more);
  }

  #grantable(): number {
    if (this.#drained !== undefined) return 0;
    if (this.#unacknowledgedCharacters > MAX_UNACKNOWLEDGED) return 0; // L3
    return this.#receiver?.free ?? 0; // L1
  }

  #flush(): void {
    if (this.#out === "" || this.#socket === undefined) return;
    const out = this.#out;
    this.#out = "";
    this.#socket.write(out);
  }
}

function tooLarge(text: string): string {
  const error = `the output of ${text.length} characters is over the limit of ${LIMITS.runsyncBodyBytes} bytes`;
  return JSON.stringify({ error, retryable: false });
}
