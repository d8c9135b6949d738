/**
 * Traces: which are kept, and what spans they have. Loaded only when there is a collector.
 *
 *   settings   the OTEL_… variables
 *   exporter   batches of spans to the collector
 *
 *   request to a load-balanced endpoint    server span, and under it the function
 *   submission of a job                    server span, and under it the wait in the queue and each
 *                                          attempt, and under that the function
 *   call of another endpoint               the server span of that call, under the calling function
 *
 * Attempts after the first are linked to the submission instead of being under it: that one was over.
 */

import type { Job } from "../../contract/job.ts";
import { ORIGIN_MEMBER, originOfMember, type Origin } from "../../contract/origin.ts";
import { attemptSpanId, type FunctionSpan, type Span } from "../../contract/span.ts";
import type { EndpointRow } from "../../contract/store.ts";
import type { Trace } from "../../contract/trace.ts";
import { newSpanId, newTrace } from "../../kit/ids.ts";
import { Exporter, type ExporterOptions } from "./exporter.ts";
import type { TraceSettings } from "./settings.ts";

/** A request that is being answered. */
export interface RequestSpan {
  /** What goes on to the worker, or with the job. */
  readonly trace: Trace;
  /** The answer is over; 0: the client left. */
  end(status: number): void;
}

/** Highest value of the part of a trace id that decides whether it is kept. */
const RANGE = 0xffff_ffff;

export class Tracer {
  readonly exporter: Exporter;
  readonly #settings: TraceSettings;

  constructor(options: ExporterOptions) {
    this.#settings = options.settings;
    this.exporter = new Exporter(options);
  }

  /** A request has come that a function of the endpoint will have to do with. */
  request(
    row: EndpointRow,
    { trace: parent, caller }: Origin,
    { method, path }: { method: string; path: string },
  ): RequestSpan {
    const startMs = nowMs();
    const { traceId, state } = parent ?? newTrace();
    const isSampled = this.#isKept(traceId, parent);
    const trace: Trace = {
      traceId,
      spanId: newSpanId(),
      isSampled,
      ...(state === undefined ? {} : { state }),
    };
    const end = (status: number): void => {
      if (!isSampled) return;
      this.exporter.add({
        ...trace,
        ...(parent === undefined ? {} : { parentId: parent.spanId }),
        name: `${method} ${row.name}`,
        kind: "server",
        startMs,
        endMs: nowMs(),
        ...(status >= 500 || status === 0
          ? { error: status === 0 ? "client left" : `${status}` }
          : {}),
        attributes: {
          ...placeOf(row),
          "http.request.method": method,
          "url.path": path.split("?", 1)[0] ?? "",
          ...(status === 0 ? {} : { "http.response.status_code": status }),
          ...(caller === undefined ? {} : { "flash.caller": caller }),
        },
      });
    };
    return { trace, end };
  }

  /** An attempt of a job is over. */
  attempt(row: EndpointRow, job: Job, error: string | undefined): void {
    const trace = traceOfJob(job);
    const { startedAt } = job;
    if (trace === undefined || !trace.isSampled || startedAt === null) return;
    const { traceId, spanId: submission } = trace;
    const isFirst = job.attempt === 1;
    const place = isFirst ? { parentId: submission } : { links: [{ traceId, spanId: submission }] };
    const attributes = {
      ...placeOf(row),
      "messaging.system": "flash",
      "messaging.destination.name": row.name,
      "messaging.message.id": job.id,
      "flash.attempt": job.attempt,
    };
    const state = trace.state === undefined ? {} : { state: trace.state };
    const common = { traceId, ...place, ...state, attributes };
    if (isFirst) {
      this.exporter.add({
        ...common,
        spanId: newSpanId(),
        name: `wait ${row.name}`,
        kind: "internal",
        startMs: Math.min(job.runAt, startedAt),
        endMs: startedAt,
      });
    }
    this.exporter.add({
      ...common,
      spanId: attemptSpanId(job.id, job.attempt),
      name: `process ${row.name}`,
      kind: "consumer",
      startMs: startedAt,
      endMs: job.finishedAt ?? nowMs(),
      ...(error === undefined ? {} : { error }),
    });
  }

  /** A function has run in a worker. */
  functionRan(row: EndpointRow, workerId: string, span: FunctionSpan): void {
    const attributes = { ...placeOf(row), "faas.instance": workerId };
    this.exporter.add({ ...span, kind: "internal", attributes } satisfies Span);
  }

  #isKept(traceId: string, parent: Trace | undefined): boolean {
    const { ratio, followsParent } = this.#settings;
    if (followsParent && parent !== undefined) return parent.isSampled;
    // By the id, so that every participant with the same ratio keeps the same traces.
    return Number.parseInt(traceId.slice(-8), 16) <= ratio * RANGE && ratio > 0;
  }
}

function traceOfJob({ extra }: Job): Trace | undefined {
  if (extra === null || !extra.includes(ORIGIN_MEMBER)) return undefined;
  const members = JSON.parse(extra) as Record<string, unknown>;
  return originOfMember(members[ORIGIN_MEMBER]).trace;
}

function placeOf({ app, environment, name }: EndpointRow): Span["attributes"] {
  return { "flash.app": app, "deployment.environment.name": environment, "faas.name": name };
}

/** Epoch ms, with fractions. */
function nowMs(): number {
  return performance.timeOrigin + performance.now();
}
