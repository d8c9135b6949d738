/** One attempt of a job on this worker: from the message to the body that `job-done` takes. */

import { inputParts } from "../../contract/binder.ts";
import { FlashError } from "../../contract/errors.ts";
import { attemptSpanId } from "../../contract/span.ts";
import { ORIGIN_MEMBER, originOfMember } from "../../contract/origin.ts";
import { Call } from "../call.ts";
import { isStream, type Callable } from "../callable.ts";
import { functionError, jobFailureBody } from "../failure.ts";
import type { StackStyle } from "../stack.ts";
import type { JobChannel, JobMessage, Posted } from "./channel.ts";
import { StreamOutput } from "./stream-output.ts";
import { threadTime, type HeldJob } from "./stuck.ts";
import type { QueueTarget } from "./target.ts";

export interface JobRunOptions {
  message: JobMessage;
  target: QueueTarget;
  channel: JobChannel;
  endpoint: string;
  /** The endpoint's own limit, ms; 0 for none. A limit in the message wins. */
  executionTimeoutMs: number;
  workerId: string;
  version: string;
  style: StackStyle;
}

/** What came of the function. */
export interface JobResult {
  body: Record<string, unknown>;
  isStream: boolean;
  error?: FlashError;
}

/** `dropped`: somebody stopped the job, and whatever it does is of no interest. */
export type JobEnd =
  | { kind: "posted"; posted: Posted; error: FlashError | undefined }
  | { kind: "dropped" };

export class JobRun {
  readonly id: string;
  readonly call: Call;
  /** What the heartbeat tells and watches. */
  readonly held: HeldJob;
  readonly #options: JobRunOptions;
  readonly #attempt: number | undefined;
  #isStopped = false;
  #isOver = false;
  /** Posts of a job follow each other, so that the server sees them in order. */
  #posts: Promise<unknown> = Promise.resolve();
  #progress: { value: unknown } | undefined;

  constructor(options: JobRunOptions) {
    const { message, endpoint } = options;
    this.#options = options;
    this.id = message.id;
    this.#attempt = wholeNumber(message.attempt);
    const { ms, text } = limitOf(options);
    this.held = {
      id: message.id,
      attempt: this.#attempt,
      overAt: ms > 0 ? threadTime() + ms : undefined,
      text,
    };
    this.call = new Call({
      who: { job: message.id, ...(this.#attempt === undefined ? {} : { attempt: this.#attempt }) },
      attempt: this.#attempt ?? 1,
      job: { id: message.id, endpoint },
      origin: () => {
        const origin = originOfMember(message[ORIGIN_MEMBER]);
        const { trace } = origin;
        // The attempt is the parent; its name is known on both sides.
        const spanId = attemptSpanId(message.id, this.#attempt ?? 1);
        const own = trace === undefined ? {} : { trace: { ...trace, spanId } };
        return {
          ...origin,
          ...own,
          chain: [...origin.chain, options.target.labelOf(message.input)],
        };
      },
      // The error is made when it is needed: its stack costs more than many jobs.
      limit: ms > 0 ? { ms, error: () => new FlashError("EXECUTION_TIMEOUT", text) } : undefined,
      onProgress: (value) => this.#showProgress(value),
    });
  }

  /** Nobody wants the result any more. */
  stop(): void {
    this.#isStopped = true;
    this.call.abort(new FlashError("CANCELLED", `Job ${this.id} was cancelled.`));
  }

  /** Runs the function. Never rejects. */
  async execute(): Promise<JobResult> {
    try {
      return await this.#callFunction();
    } catch (thrown) {
      const error = FlashError.is(thrown) ? thrown : functionError(thrown, this.#options.style);
      this.call.fail(error);
      return { body: jobFailureBody(error, this.#options), isStream: false, error };
    } finally {
      this.call.end();
      this.#isOver = true;
    }
  }

  /** Posts what came of it. Never rejects. */
  async post({ body, isStream, error }: JobResult): Promise<JobEnd> {
    await this.#posts;
    if (this.#isStopped) return { kind: "dropped" };
    const post = { jobId: this.id, attempt: this.#attempt, body, isStream };
    const posted = await this.#options.channel.postOutput(post);
    return { kind: "posted", posted, error };
  }

  async #callFunction(): Promise<JobResult> {
    const { call } = this;
    const { callable, input } = this.#options.target.choose(this.#options.message.input);
    const value = await call.run(async () => callable.call(await callable.bind(inputParts(input))));
    if (!isStream(value))
      return { body: { output: await callable.encode(value) }, isStream: false };
    const output = new StreamOutput();
    await call.run(() => this.#stream(value, { callable, output }));
    return { body: { output: output.value }, isStream: true };
  }

  /** Sends every value; the next one is asked for when the server has this one. */
  async #stream(
    values: AsyncIterable<unknown> | Iterable<unknown>,
    { callable, output }: { callable: Callable; output: StreamOutput },
  ): Promise<void> {
    const { signal } = this.call;
    let number = 0;
    try {
      for await (const value of values) {
        signal.throwIfAborted();
        const chunk = await callable.encode(value);
        number += 1;
        const post = { jobId: this.id, attempt: this.#attempt, number, body: { output: chunk } };
        const posted = await this.#inOrder(() => this.#options.channel.postChunk(post));
        if (posted !== "accepted") {
          throw new FlashError("UNAVAILABLE", `A streamed value of job ${this.id} was ${posted}.`);
        }
        output.add(chunk);
      }
    } catch (thrown) {
      if (signal.aborted) throw callable.endedBy(signal);
      throw FlashError.is(thrown) && thrown.code === "UNAVAILABLE"
        ? thrown
        : callable.failed(thrown);
    }
  }

  /** Only the newest value counts, so those that come faster than the server takes them are skipped. */
  #showProgress(value: unknown): void {
    if (this.#isOver || this.#isStopped) return;
    const isWaiting = this.#progress !== undefined;
    this.#progress = { value };
    if (isWaiting) return;
    void this.#inOrder(async () => {
      const output = this.#progress?.value;
      this.#progress = undefined;
      if (this.#isOver || this.#isStopped) return;
      const body = { status: "IN_PROGRESS", output };
      await this.#options.channel.postOutput({ jobId: this.id, attempt: this.#attempt, body });
    });
  }

  #inOrder<T>(post: () => Promise<T>): Promise<T> {
    const done = this.#posts.then(post);
    this.#posts = done.catch(() => undefined);
    return done;
  }
}

/** The time that an attempt may take, and what is said when it is over. */
function limitOf({ message, executionTimeoutMs, endpoint }: JobRunOptions): {
  ms: number;
  text: string;
} {
  const ms = wholeNumber(message.executionTimeout) ?? executionTimeoutMs;
  const text = `Execution timeout on ${endpoint} after ${ms / 1000}s: job ${message.id} did not finish.`;
  return { ms, text };
}

function wholeNumber(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) ? value : undefined;
}
