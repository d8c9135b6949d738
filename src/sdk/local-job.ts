/** A job that runs in this process: what `.run()` gives in tests and without a server. */

import type { JobDocument } from "../contract/job.ts";
import { abortable } from "../kit/abort.ts";
import { newJobId } from "../kit/ids.ts";
import { isStream, runInProcess } from "./in-process.ts";
import { EndpointJob, type JobSource } from "./job.ts";

/** Starts `work` at once and returns its job. */
export function startLocalJob(
  endpoint: string,
  work: () => unknown,
  signal?: AbortSignal,
): EndpointJob {
  const source = new LocalJob(endpoint, work, signal);
  return new EndpointJob(source, source.document);
}

class LocalJob implements JobSource {
  readonly endpoint: string;
  readonly over: Promise<void>;
  thrown: { error: unknown } | undefined;
  readonly #abort = new AbortController();
  readonly #chunks: unknown[] = [];
  #delivered = 0;
  #waiting: (() => void)[] = [];
  #document: JobDocument = { id: newJobId("run"), status: "IN_PROGRESS" };

  constructor(endpoint: string, work: () => unknown, signal: AbortSignal | undefined) {
    this.endpoint = endpoint;
    const signals = [this.#abort.signal, ...(signal === undefined ? [] : [signal])];
    this.over = this.#run(work, AbortSignal.any(signals));
  }

  get document(): JobDocument {
    return this.#document;
  }

  async read(): Promise<JobDocument> {
    return this.#document;
  }

  /** The function is told by its context's signal; whatever it still returns is ignored. */
  async cancel(): Promise<JobDocument> {
    if (this.#document.status === "IN_PROGRESS") {
      this.#document = { id: this.#document.id, status: "CANCELLED" };
      this.#abort.abort(new DOMException("The job was cancelled", "AbortError"));
      this.#wake();
    }
    return this.#document;
  }

  async *chunks({ signal }: { signal?: AbortSignal | undefined }): AsyncGenerator {
    for (;;) {
      while (this.#delivered < this.#chunks.length) yield this.#chunks[this.#delivered++];
      if (this.#document.status !== "IN_PROGRESS") break;
      await abortable(new Promise<void>((resolve) => this.#waiting.push(resolve)), signal);
    }
    if (this.thrown !== undefined) throw this.thrown.error;
  }

  decode(output: unknown): unknown {
    return output;
  }

  async #run(work: () => unknown, signal: AbortSignal): Promise<void> {
    const { id } = this.#document;
    // The caller holds the job before its function runs, as with a server.
    await Promise.resolve();
    try {
      const output = await runInProcess(() => this.#execute(work), {
        job: { id, endpoint: this.endpoint },
        signal,
        onProgress: (output) => this.#move({ id, status: "IN_PROGRESS", output }),
      });
      this.#move({ id, status: "COMPLETED", output });
    } catch (error) {
      if (this.#move({ id, status: "FAILED", error: textOf(error) })) this.thrown = { error };
    }
    this.#wake();
  }

  async #execute(work: () => unknown): Promise<unknown> {
    const result = await work();
    return isStream(result) ? this.#drain(result) : result;
  }

  async #drain(stream: AsyncIterable<unknown> | Generator): Promise<unknown[]> {
    for await (const chunk of stream) {
      if (this.#document.status !== "IN_PROGRESS") break;
      this.#chunks.push(chunk);
      this.#wake();
    }
    return [...this.#chunks];
  }

  #wake(): void {
    for (const resolve of this.#waiting.splice(0)) resolve();
  }

  /** False when the job is already over: late words about it do not count. */
  #move(next: JobDocument): boolean {
    if (this.#document.status !== "IN_PROGRESS") return false;
    this.#document = next;
    return true;
  }
}

function textOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
