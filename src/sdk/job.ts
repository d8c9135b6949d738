/** A job as its caller holds it: a snapshot that can be renewed, waited for, streamed and cancelled. */

import { FlashError, errorOfReport, type ErrorReport } from "../contract/errors.ts";
import type { JobDocument } from "../contract/job.ts";
import { isFinal } from "../contract/states.ts";
import { isTransient, parseOrUndefined } from "./exchange.ts";
import { Deadline, pause, seconds } from "./pause.ts";

/** Where a job's facts come from: a server, or this process. */
export interface JobSource {
  /** What messages call the endpoint. */
  readonly endpoint: string;
  read(limits: { signal?: AbortSignal | undefined; timeoutMs?: number }): Promise<JobDocument>;
  cancel(): Promise<Partial<JobDocument>>;
  chunks(signal?: AbortSignal): AsyncIterable<unknown>;
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
  /** Default: no limit. */
  timeoutMs?: number;
  signal?: AbortSignal;
}

/** How many failed looks in a row `wait()` bears: the next one is thrown. */
const TOLERATED_FAILURES = 4;
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

  /** The last known result; while the job runs, its newest progress value. */
  get output(): T | undefined {
    const { output } = this.#document;
    return (output === undefined ? undefined : this.#source.decode(output)) as T | undefined;
  }

  /** The last known error, as the server writes it. */
  get error(): string | undefined {
    return this.#document.error;
  }

  /** True when the last known state is final. */
  get done(): boolean {
    const { status } = this.#document;
    return status !== undefined && isFinal(status);
  }

  /** Asks for the job's state and keeps it. */
  async status(): Promise<string> {
    await this.#renew({ timeoutMs: READ_TIMEOUT_MS });
    return this.#state;
  }

  /** Ends the job. A job that is already over stays as it is. */
  async cancel(): Promise<this> {
    this.#document = { ...this.#document, ...(await this.#source.cancel()) };
    return this;
  }

  /**
   * Waits until the job is over, however it ended. Throws `CALL_TIMEOUT` when `timeoutMs` is over,
   * and the signal's reason when it aborts; the job goes on either way.
   */
  async wait({ timeoutMs, signal }: WaitOptions = {}): Promise<this> {
    const deadline = new Deadline(timeoutMs);
    let failures = 0;
    for (let tries = 0; !this.done; tries++) {
      if (deadline.isOver) throw this.#overdue(timeoutMs ?? 0);
      await pause(deadline.delayMs(tries), { signal, sooner: this.#source.over });
      try {
        await this.#renew({
          timeoutMs: Math.max(1, Math.min(READ_TIMEOUT_MS, deadline.remainingMs)),
          signal,
        });
        failures = 0;
      } catch (error) {
        if (deadline.isOver && !this.#isOwn(signal)) throw this.#overdue(timeoutMs ?? 0, error);
        if (!isTransient(error) || ++failures > TOLERATED_FAILURES) throw error;
      }
    }
    return this;
  }

  /** Waits, and returns the output or throws what went wrong, with the function's own error as its cause. */
  async result(options: WaitOptions = {}): Promise<T> {
    await this.wait(options);
    const { thrown } = this.#source;
    if (thrown !== undefined) throw thrown.error;
    if (this.#document.status === "COMPLETED") return (await this.#completed()) as T;
    throw jobFailure(this.#document);
  }

  /** Yields the job's chunks as they are produced. Each is delivered once. */
  stream({ signal }: { signal?: AbortSignal } = {}): AsyncIterable<
    T extends (infer C)[] ? C : unknown
  > {
    return this.#source.chunks(signal) as AsyncIterable<T extends (infer C)[] ? C : unknown>;
  }

  toString(): string {
    return `EndpointJob(id='${this.id}', status='${this.#state}')`;
  }

  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return this.toString();
  }

  /** A worker of Runpod's leaves the output of a stream empty: then it is what has not been read yet. */
  async #completed(): Promise<unknown> {
    const output: unknown = this.output;
    if (this.#source.isStream !== true || (Array.isArray(output) && output.length > 0))
      return output;
    const chunks: unknown[] = [];
    for await (const chunk of this.#source.chunks()) chunks.push(chunk);
    return chunks;
  }

  get #state(): string {
    return this.#document.status ?? "UNKNOWN";
  }

  async #renew(limits: { signal?: AbortSignal | undefined; timeoutMs?: number }): Promise<void> {
    this.#document = await this.#source.read(limits);
  }

  #isOwn(signal: AbortSignal | undefined): boolean {
    return signal?.aborted === true;
  }

  #overdue(timeoutMs: number, cause?: unknown): FlashError {
    return new FlashError(
      "CALL_TIMEOUT",
      `job ${this.id} did not complete within ${seconds(timeoutMs)} (last status: ${this.#state})`,
      { cause, hint: "The job goes on: wait() again, or cancel() it." },
    );
  }
}

/** The error of a job that did not complete. */
export function jobFailure({ id, status, error }: Partial<JobDocument>): FlashError {
  const details = { job: id ?? "", status: status ?? "UNKNOWN" };
  if (status === "CANCELLED") {
    return new FlashError("CANCELLED", `remote execution failed: job ${id ?? ""} was cancelled`, {
      details,
    });
  }
  const { message, cause } = readJobError(error);
  const code =
    status === "TIMED_OUT"
      ? "EXECUTION_TIMEOUT"
      : cause === undefined
        ? "REMOTE_ERROR"
        : "FUNCTION_ERROR";
  return new FlashError(code, `remote execution failed: ${message}`, { cause, details });
}

interface WorkerError {
  error_type?: string;
  error_message?: string;
  error_traceback?: string;
  error_report?: ErrorReport;
}

/**
 * Reads a job's error: JSON text with the fields of Runpod's workers, with our own report beside
 * them when the worker is ours, or plain text. Source: spec/worker-protocol.md 4.
 */
export function readJobError(text: string | undefined): { message: string; cause?: Error } {
  if (text === undefined || text === "") return { message: "the job ended without a result" };
  const value = parseOrUndefined(text);
  if (typeof value !== "object" || value === null) return { message: text };
  const { error_type, error_message, error_traceback, error_report } = value as WorkerError;
  if (typeof error_report === "object") {
    return { message: error_report.message, cause: errorOfReport(error_report) };
  }
  if (typeof error_message !== "string") return { message: text };
  const cause = errorOfReport({
    // Python writes the class as `<class 'ValueError'>`.
    name: /^<class '(?:.*\.)?(.+)'>$/.exec(error_type ?? "")?.[1] ?? error_type ?? "Error",
    message: error_message,
    ...(error_traceback === undefined ? {} : { stack: error_traceback }),
  });
  return { message: error_message, cause };
}
