/**
 * A job link, server side: jobs to one worker of ours, its results back, over one connection. The
 * frames are those of contract/job-link.ts.
 *
 *   1  Jobs are handed out against slots that the worker has given, never more.
 *   2  A post is acknowledged when it is on the disk, whatever it was worth: a stale one counts as heard.
 *   3  A job that was not handed to the operating system goes back to its place in the queue; one that
 *      was lost on its way goes back when the worker is here again and does not name it.
 *   4  A worker that sends what is no frame loses its link, and nothing else.
 *   5  Who sends more posts than can be written, or does not read what it is sent, is listened to no further
 *      until that is done: memory holds a bounded part of it, and others have their turn.
 */

import type { Duplex } from "node:stream";
import {
  LINK_PROTOCOL,
  LineReader,
  ackFrame,
  drainedFrame,
  jobFrame,
  readWorkerFrame,
  stopFrame,
  type PostFrame,
  type WorkerFrame,
} from "../../contract/job-link.ts";
import { LIMITS } from "../../contract/limits.ts";
import type { TakenJob } from "../../contract/store.ts";
import { deferred } from "../../kit/abort.ts";
import type { Log } from "../../kit/log.ts";
import type { DoneBody, Jobs } from "../jobs/jobs.ts";
import { messageText } from "./worker-api.ts";

export interface JobLinkOptions {
  jobs: Jobs;
  socket: Duplex;
  endpointId: string;
  /** The worker's release: it gets no job of another one. */
  releaseId: string | undefined;
  workerId: string;
  /** The worker runs on this machine. */
  isLocal: boolean;
  /** The worker has called in. */
  onSeen: () => void;
  log: Log;
}

/** Posts that are not acknowledged yet; what is read with the last one may be more. */
const MAX_POSTS = 256;
/** Bytes, about, that wait for the worker to read them. A take's jobs come on top. */
const MAX_UNREAD = 32 * 1024 * 1024;
/** A worker keeps a result until it is acknowledged; to write for that alone wakes it once more. */
const MAX_ACK_DELAY_MS = 5;

const ACCEPTED = `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: ${LINK_PROTOCOL}\r\n\r\n`;

export class JobLink {
  readonly #options: JobLinkOptions;
  readonly #over = new AbortController();
  /** Aborts when the worker wants no more jobs, at the latest when the link is over. */
  readonly #full = new AbortController();
  readonly #reader = new LineReader();
  readonly #decoder = new TextDecoder();
  #hasHello = false;
  #slots = 0;
  #posts = 0;
  #slotsCame = deferred<void>();
  /** What this turn of the event loop has to say, and the jobs in it. */
  #out = "";
  #outJobs: TakenJob[] = [];
  #isFlushPlanned = false;
  /** Flushes what nobody is in a hurry for. */
  #later: NodeJS.Timeout | undefined;

  constructor(options: JobLinkOptions) {
    this.#options = options;
  }

  /** Resolves when the connection has ended. `head`: what came behind the handshake. */
  async serve(head: Buffer): Promise<void> {
    const { socket } = this.#options;
    const closed = new Promise<void>((resolve) => {
      socket.once("close", () => {
        this.close();
        resolve();
      });
    });
    socket.on("data", (bytes: Buffer) => this.#read(bytes));
    socket.on("drain", () => this.#listen());
    socket.on("end", () => socket.end());
    socket.write(ACCEPTED);
    if (head.length > 0) socket.unshift(head);
    await Promise.all([this.#giveJobs(), this.#giveStops(), closed]);
  }

  /** Idempotent. */
  close(): void {
    clearTimeout(this.#later);
    this.#over.abort();
    this.#stopGiving();
    this.#options.socket.destroy();
  }

  // What comes.

  #read(bytes: Buffer): void {
    try {
      for (const line of this.#reader.read(this.#decoder.decode(bytes, { stream: true }))) {
        const frame = readWorkerFrame(line);
        if (frame === undefined) throw new Error("the worker sent what is no frame");
        this.#understand(frame);
      }
      if (this.#isBehind) this.#options.socket.pause();
    } catch (error) {
      this.#fail(error);
    }
  }

  get #isBehind(): boolean {
    return this.#posts >= MAX_POSTS || this.#hasUnread;
  }

  get #hasUnread(): boolean {
    return this.#options.socket.writableLength >= MAX_UNREAD;
  }

  /** Goes on with what {@link MAX_POSTS} and {@link MAX_UNREAD} have put off. */
  #listen(): void {
    const { socket } = this.#options;
    if (socket.isPaused() && !this.#isBehind) socket.resume();
    if (!this.#hasUnread) this.#slotsCame.resolve();
  }

  #understand(frame: WorkerFrame): void {
    if (this.#hasHello === (frame.kind === "hello")) {
      throw new Error("a link begins with one 'hello'");
    }
    if (frame.kind === "post") void this.#take(frame);
    else if (frame.kind === "drain") this.#stopGiving();
    else if (frame.kind === "slots") this.#addSlots(frame.slots);
    else {
      this.#hasHello = true;
      void this.#greet(frame.held, frame.slots);
    }
  }

  async #greet(held: readonly string[], slots: number): Promise<void> {
    const { jobs, workerId, onSeen } = this.#options;
    onSeen();
    // Its heartbeats may not have begun yet, but it is known that they will name everything.
    jobs.listsAll(workerId);
    try {
      await jobs.resume(workerId, held);
      this.#addSlots(slots);
    } catch (error) {
      this.#fail(error);
    }
  }

  #addSlots(slots: number): void {
    this.#slots += slots;
    this.#slotsCame.resolve();
  }

  #stopGiving(): void {
    this.#full.abort();
    this.#slotsCame.resolve();
  }

  async #take(frame: PostFrame): Promise<void> {
    const { jobs, workerId } = this.#options;
    const { post, jobId, attempt, number, text: outputText, value } = frame;
    const word = { jobId, attempt, workerId };
    this.#posts += 1;
    try {
      if (post === "chunk") await jobs.chunk({ ...word, number, output: value, outputText });
      else if (post === "done") await jobs.done({ ...word, body: { outputText } });
      else if (post === "failed") await jobs.done({ ...word, body: value as DoneBody });
      else await jobs.done({ ...word, body: { status: "IN_PROGRESS", outputText } });
      if (post === "done") this.#sendSoon(ackFrame(jobId));
      else this.#send(ackFrame(jobId));
    } catch (error) {
      // Not on the disk: the worker offers it again on the next link.
      this.#fail(error);
    } finally {
      this.#posts -= 1;
      if (this.#posts === MAX_POSTS - 1) this.#listen();
    }
  }

  #fail(error: unknown): void {
    if (!this.#over.signal.aborted) {
      this.#options.log.warn("a job link was closed", { reason: (error as Error).message });
    }
    this.close();
  }

  // What goes.

  async #giveJobs(): Promise<void> {
    const { jobs, endpointId, releaseId, workerId, isLocal } = this.#options;
    const { signal } = this.#full;
    const slots = (): number => this.#slots;
    const request = {
      endpointId,
      ...(releaseId === undefined ? {} : { releaseId }),
      workerId,
      isLocal,
      // As many as there are slots when it comes to it.
      get limit() {
        return slots();
      },
      holdMs: LIMITS.pollHoldMs,
      signal,
    };
    while (!signal.aborted && !jobs.isClosed) {
      if (this.#slots <= 0 || this.#hasUnread) {
        this.#slotsCame = deferred<void>();
        await this.#slotsCame.promise;
        continue;
      }
      try {
        this.#give(await jobs.take(request));
      } catch (error) {
        this.#fail(error);
      }
    }
    this.#send(drainedFrame());
  }

  #give(taken: readonly TakenJob[]): void {
    this.#slots -= taken.length;
    for (const job of taken) {
      this.#outJobs.push(job);
      this.#send(jobFrame(messageText(job)));
    }
    // At once: the worker runs them while this thread tells clients what came of others.
    if (taken.length > 0) this.#flush();
  }

  async #giveStops(): Promise<void> {
    const { jobs, workerId } = this.#options;
    const { signal } = this.#over;
    while (!signal.aborted && !jobs.isClosed) {
      const ids = await jobs.stopsFor(workerId, LIMITS.pollHoldMs, signal);
      if (ids.length > 0) this.#send(stopFrame(ids));
    }
  }

  /** With what comes next, or alone: the worker has freed the slot and waits for nothing. */
  #sendSoon(frame: string): void {
    this.#out += frame;
    if (this.#isFlushPlanned || this.#full.signal.aborted) this.#send("");
    else this.#later ??= setTimeout(() => this.#flush(), MAX_ACK_DELAY_MS);
  }

  #send(frame: string): void {
    this.#out += frame;
    if (this.#isFlushPlanned) return;
    this.#isFlushPlanned = true;
    // After everything that follows from the same commit: one write for all of it.
    process.nextTick(() => this.#flush());
  }

  #flush(): void {
    clearTimeout(this.#later);
    this.#later = undefined;
    if (this.#out === "") return;
    const [out, sent] = [this.#out, this.#outJobs];
    [this.#out, this.#outJobs, this.#isFlushPlanned] = ["", [], false];
    const { socket, jobs } = this.#options;
    socket.write(out, (error) => {
      if (error) void jobs.putBack(sent);
    });
  }
}
