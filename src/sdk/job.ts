/** A job as its caller holds it: a snapshot that can be renewed, waited for, streamed and cancelled. */

import { FlashError } from "../contract/flash-error.ts";
import type { JobAttempt, JobFailure } from "../contract/job-failure.ts";
import type { JobDocument } from "../contract/job.ts";
import { isFinal } from "../contract/states.ts";
import { Deadline, Patience, pause, seconds } from "./pause.ts";

interface Limits {
  signal?: AbortSignal | undefined;
  timeoutMs?: number | undefined;
}

/** Where a job's facts come from: a server, or this process. */
export interface JobSource {
  /** What messages call the endpoint. */
  readonly endpoint: string;
  read(limits: Limits): Promise<JobDocument>;
  cancel(limits: Limits): Promise<Partial<JobDocument>>;
  chunks(limits: Pick<Limits, "signal"> & { deadline?: Deadline }): AsyncIterable<unknown>;
  /** The output as the function returned it. */
  decode(output: unknown): unknown;
  /** The function yields chunks; its output may be left to the stream. */
  readonly isStream?: boolean;
  /** Settles when the job is over, where that is known without asking. */
  readonly over?: Promise<unknown>;
  /** What the function threw, in process. */
  readonly thrown?: { readonly error: unknown } | undefined;
}

export interface WaitOptions {
  /** Default: no limit, but 30 s for a single request. */
  timeoutMs?: number;
  /** Aborts the wait, which then throws the signal's reason. */
  signal?: AbortSignal;
}

/** One look, ms. Source: the original. */
const READ_TIMEOUT_MS = 30_000;

export class EndpointJob<T = unknown> {
  #source: JobSource;
  #document: Partial<JobDocument>;

  /** Made by `run()` and its like. */
  constructor(source: JobSource, document: Partial<JobDocument>) {
    this.#source = source;
    this.#document = document;
  }

  /** Empty when the server gave none. */
  get id(): string {
    return this.#document.id ?? "";
  }

  /**
   * The last known result; while the job runs, its newest progress value. Of a generator the list of
   * its chunks, or `[]` when they are more than 1 MiB of JSON.
   */
  get output(): T | undefined {
    const { output } = this.#document;
    return (output === undefined ? undefined : this.#source.decode(output)) as T | undefined;
  }

  /** The last known error, as the server writes it. */
  get error(): string | undefined {
    return this.#document.error;
  }

  /** Why the last attempt failed, as far as is known. Undefined on servers that do not tell. */
  get failure(): JobFailure | undefined {
    return this.#document.flash?.failure;
  }

  /** The attempts that failed, and after those the last one. Empty on servers that do not tell. */
  get attempts(): readonly JobAttempt[] {
    return this.#document.flash?.attempts ?? [];
  }

  /** True when the last known state is final. */
  get done(): boolean {
    const { status } = this.#document;
    return status !== undefined && isFinal(status);
  }

  /** Asks for the job's state and keeps it. */
  async status(options: WaitOptions = {}): Promise<string> {
    await this.#renew({ timeoutMs: READ_TIMEOUT_MS, ...options });
    return this.#state;
  }

  /** Ends the job. A job that is already over stays as it is. */
  async cancel(options: WaitOptions = {}): Promise<this> {
    this.#document = { ...this.#document, ...(await this.#source.cancel(options)) };
    return this;
  }

  /**
   * Waits until the job is over, however it ended. A server that is away, busy or restarting (429,
   * 502, 503, 504) is borne for four looks in a row. Throws `CALL_TIMEOUT` when `timeoutMs` is over,
   * and the signal's reason when it aborts; the job goes on either way.
   */
  async wait({ timeoutMs, signal }: WaitOptions = {}): Promise<this> {
    const deadline = new Deadline(timeoutMs);
    const patience = new Patience();
    let leastMs = 0;
    for (let tries = 0; !this.done; tries++) {
      if (deadline.isOver) throw this.#overdue(timeoutMs ?? 0);
      const delayMs = Math.max(leastMs, deadline.delayMs(tries));
      await pause(delayMs, { signal, sooner: this.#source.over });
      try {
        const lookMs = Math.max(1, Math.min(READ_TIMEOUT_MS, deadline.remainingMs));
        await this.#renew({ timeoutMs: lookMs, signal });
        patience.renew();
        leastMs = 0;
      } catch (error) {
        if (signal?.aborted === true) throw error;
        if (deadline.isOver) throw this.#overdue(timeoutMs ?? 0, error);
        leastMs = patience.delayMs(error, deadline);
      }
    }
    return this;
  }

  /**
   * Waits, and returns the output or throws what went wrong, with the function's own error as its
   * cause. Of a generator it is the list of all chunks; above 1 MiB of JSON these come from the stream,
   * which delivers each once, so what `stream()` has taken before is not among them.
   */
  async result(options: WaitOptions = {}): Promise<T> {
    const deadline = new Deadline(options.timeoutMs);
    await this.wait(options);
    const { thrown } = this.#source;
    if (thrown !== undefined) throw thrown.error;
    if (this.#document.status === "COMPLETED") {
      return (await this.#completed({ ...options, deadline })) as T;
    }
    const { jobFailure } = await import("./failure.ts");
    throw jobFailure(this.#document);
  }

  /** Yields the job's chunks as they are produced. Each is delivered once. */
  stream({ signal, timeoutMs }: WaitOptions = {}): AsyncIterable<
    T extends (infer C)[] ? C : unknown
  > {
    const limits = { signal, deadline: new Deadline(timeoutMs) };
    return this.#source.chunks(limits) as AsyncIterable<T extends (infer C)[] ? C : unknown>;
  }

  toString(): string {
    return `EndpointJob(id='${this.id}', status='${this.#state}')`;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  /**
   * The output of a stream is the list of its chunks. A worker leaves it empty when they are many, and
   * Runpod's own always: then it is what has not been read yet.
   */
  async #completed(limits: Pick<Limits, "signal"> & { deadline: Deadline }): Promise<unknown> {
    const output: unknown = this.output;
    if (this.#source.isStream !== true || (Array.isArray(output) && output.length > 0))
      return output;
    const chunks: unknown[] = [];
    for await (const chunk of this.#source.chunks(limits)) chunks.push(chunk);
    return chunks;
  }

  get #state(): string {
    return this.#document.status ?? "UNKNOWN";
  }

  async #renew(limits: Limits): Promise<void> {
    this.#document = await this.#source.read(limits);
  }

  #overdue(timeoutMs: number, cause?: unknown): FlashError {
    return new FlashError(
      "CALL_TIMEOUT",
      `job ${this.id} did not complete within ${seconds(timeoutMs)} (last status: ${this.#state})`,
      { cause, hint: "The job goes on: wait() again, or cancel() it." },
    );
  }
}
