/**
 * Spans to an OpenTelemetry collector, as OTLP over HTTP with JSON. Own code instead of the
 * OpenTelemetry SDK: what is needed is one kind of document and one POST, the SDK brings dozens of
 * packages that patch the modules they watch, and a server without a collector must not pay for it.
 *
 * Bounded: what does not fit into the queue is dropped and counted, and so is a batch that nobody takes.
 */

import type { Span, SpanKind } from "../../contract/span.ts";
import { backoffMs } from "../../kit/backoff.ts";
import { sleep, systemClock, type Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import type { TraceSettings } from "./settings.ts";

const KINDS: Record<SpanKind, number> = { internal: 1, server: 2, consumer: 5 };
const ERROR = 2;
/** Answers that ask for another try. */
const PASSING = new Set([429, 502, 503, 504]);
const TRIES = 3;
const BACKOFF = { baseMs: 500, factor: 2, capMs: 5000, jitter: 0.2 };

export interface ExporterOptions {
  settings: TraceSettings;
  version: string;
  log: Log;
  clock?: Clock;
}

export class Exporter {
  readonly statistics = { exported: 0, dropped: 0 };
  readonly #options: ExporterOptions;
  readonly #clock: Clock;
  #queue: Span[] = [];
  #cancelTimer: (() => void) | undefined;
  #sending: Promise<void> = Promise.resolve();
  #isFailing = false;
  #isClosed = false;

  constructor(options: ExporterOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  add(span: Span): void {
    const { maxQueue, maxBatch, delayMs } = this.#options.settings;
    if (this.#isClosed || this.#queue.length >= maxQueue) {
      this.statistics.dropped += 1;
      return;
    }
    this.#queue.push(span);
    if (this.#queue.length >= maxBatch) void this.flush();
    else this.#cancelTimer ??= this.#clock.after(delayMs, () => void this.flush());
  }

  /** Sends what has come until now. Never rejects. */
  flush(): Promise<void> {
    this.#cancelTimer?.();
    this.#cancelTimer = undefined;
    this.#sending = this.#sending.then(() => this.#sendAll());
    return this.#sending;
  }

  /** Sends what is left, without trying twice. */
  async close(): Promise<void> {
    this.#isClosed = true;
    await this.flush();
  }

  async #sendAll(): Promise<void> {
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, this.#options.settings.maxBatch);
      const problem = await this.#send(batch);
      if (problem === undefined) this.statistics.exported += batch.length;
      else this.statistics.dropped += batch.length;
      this.#sayHowItGoes(problem);
    }
  }

  /** Why the batch was not taken; undefined when it was. */
  async #send(batch: readonly Span[]): Promise<string | undefined> {
    const { url, headers, timeoutMs } = this.#options.settings;
    const body = JSON.stringify(this.#document(batch));
    for (let tries = 1; ; tries++) {
      let problem: string;
      try {
        const response = await fetch(url, {
          method: "POST",
          headers: { "content-type": "application/json", ...headers },
          body,
          signal: AbortSignal.timeout(timeoutMs),
        });
        await response.arrayBuffer();
        if (response.ok) return undefined;
        problem = `the collector answered ${response.status}`;
        if (!PASSING.has(response.status)) return problem;
      } catch (error) {
        problem = (error as Error).message;
      }
      if (tries === TRIES || this.#isClosed) return problem;
      await sleep(this.#clock, backoffMs(BACKOFF, tries - 1));
    }
  }

  /** Once when it begins to fail, and once when it is well again. */
  #sayHowItGoes(problem: string | undefined): void {
    const { log } = this.#options;
    if (problem !== undefined && !this.#isFailing) {
      log.warn("traces are not exported", { reason: problem });
    } else if (problem === undefined && this.#isFailing) log.info("traces are exported again");
    this.#isFailing = problem !== undefined;
  }

  #document(batch: readonly Span[]): object {
    const { settings, version } = this.#options;
    return {
      resourceSpans: [
        {
          resource: { attributes: attributesOf(settings.resource) },
          scopeSpans: [{ scope: { name: "runpod-flash", version }, spans: batch.map(otlpSpan) }],
        },
      ],
    };
  }
}

function otlpSpan(span: Span): object {
  const { traceId, spanId, parentId, name, kind, attributes, links, error, state } = span;
  return {
    traceId,
    spanId,
    ...(parentId === undefined ? {} : { parentSpanId: parentId }),
    ...(state === undefined ? {} : { traceState: state }),
    name,
    kind: KINDS[kind],
    startTimeUnixNano: nanoseconds(span.startMs),
    endTimeUnixNano: nanoseconds(Math.max(span.startMs, span.endMs)),
    attributes: attributesOf(attributes),
    ...(links === undefined ? {} : { links }),
    status: error === undefined ? {} : { code: ERROR, message: error },
  };
}

/** 64-bit integers are strings in OTLP's JSON: numbers would lose digits. */
function nanoseconds(ms: number): string {
  const whole = Math.floor(ms);
  return String(BigInt(whole) * 1_000_000n + BigInt(Math.round((ms - whole) * 1e6)));
}

function attributesOf(values: Readonly<Record<string, string | number | boolean>>): object[] {
  return Object.entries(values).map(([key, value]) => ({ key, value: valueOf(value) }));
}

function valueOf(value: string | number | boolean): object {
  if (typeof value === "string") return { stringValue: value };
  if (typeof value === "boolean") return { boolValue: value };
  return Number.isInteger(value) ? { intValue: String(value) } : { doubleValue: value };
}
