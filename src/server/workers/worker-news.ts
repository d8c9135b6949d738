/**
 * News of an endpoint's workers, in words: events for who follows the endpoint, lines for its log,
 * counts for the metrics, and the server's own log.
 */

import type { WorkerExit } from "../../contract/compute.ts";
import type { EndpointRow } from "../../contract/store.ts";
import type { Log } from "../../kit/log.ts";
import type { EndpointMetrics } from "../metrics/endpoint-metrics.ts";
import type { PoolHost, WorkerEvent } from "./host.ts";
import type { WorkerEnd } from "./life.ts";
import { excessText } from "./memory.ts";
import type { PoolWorker } from "./pool-worker.ts";

const UNHEALTHY = "fails its health check: it gets no more requests";
const HEALTHY = "is healthy again";

export class WorkerNews {
  readonly #row: EndpointRow;
  readonly #host: Pick<PoolHost, "emit" | "onEvent">;
  readonly #metrics: EndpointMetrics;
  readonly #log: Log;

  constructor(
    row: EndpointRow,
    { host, metrics, log }: { host: PoolHost; metrics: EndpointMetrics; log: Log },
  ) {
    this.#row = row;
    this.#host = host;
    this.#metrics = metrics;
    this.#log = log;
  }

  started(worker: PoolWorker): void {
    this.#metrics.workersStarted += 1;
    this.#emit(worker, "worker.started", "is being started");
  }

  /** Its process is there. */
  runs({ id, running }: PoolWorker): void {
    this.#log.debug("worker started", { worker: id, pid: running?.pid });
  }

  ready(worker: PoolWorker, afterMs: number): void {
    const wholeMs = Math.round(afterMs);
    this.#metrics.startSeconds.observe(afterMs / 1000);
    this.#emit(worker, "worker.ready", `is ready after ${wholeMs} ms`, { afterMs: wholeMs });
    this.#log.info("worker ready", { worker: worker.id, afterMs: wholeMs });
  }

  unhealthy(worker: PoolWorker): void {
    this.#line(worker, UNHEALTHY);
    this.#emit(worker, "worker.unhealthy", UNHEALTHY);
  }

  healthy(worker: PoolWorker): void {
    this.#line(worker, HEALTHY);
    this.#emit(worker, "worker.healthy", HEALTHY);
  }

  replaced(worker: PoolWorker, reason: string): void {
    this.#line(worker, `${reason}: it is replaced`);
  }

  givenUp(worker: PoolWorker, reason: string): void {
    this.#line(worker, `ended: ${reason}`);
  }

  /** It has said itself what is wrong. */
  unfit(workerId: string, reason: string): void {
    this.#line({ id: workerId }, reason);
  }

  /** Its end was its own doing. */
  crashed(worker: PoolWorker, { startError, ...exit }: WorkerEnd): void {
    const what = startError ?? `ended: ${endOf(worker, exit)}`;
    this.#line(worker, what);
    this.#metrics.workersCrashed += 1;
    this.#emit(worker, "worker.crashed", what, { ...exit });
    this.#log.info("worker gone", { worker: worker.id, end: endOf(worker, exit) });
  }

  /** Its end was ours. */
  stopped(worker: PoolWorker, exit: WorkerExit, because: string): void {
    this.#emit(worker, "worker.stopped", `was stopped: ${because}`);
    this.#log.info("worker gone", { worker: worker.id, end: endOf(worker, exit), because });
  }

  #emit(
    { id, version }: PoolWorker,
    kind: WorkerEvent["kind"],
    what: string,
    details?: Record<string, unknown>,
  ): void {
    this.#host.emit(this.#row, {
      kind,
      worker: id,
      release: version.releaseId,
      message: `worker ${id} of '${this.#row.name}' ${what}`,
      ...(details === undefined ? {} : { details }),
    });
  }

  #line({ id }: { id: string }, message: string): void {
    this.#host.onEvent(this.#row, id, message);
  }
}

/** Why a start has failed: the worker's last words, where they tell more than how it ended. */
export function crashReason(worker: PoolWorker, { startError, ...exit }: WorkerEnd): string {
  if (startError !== undefined) return startError;
  const words = worker.lastWords().trim();
  const tellsMore = words !== "" && worker.excess === undefined;
  return tellsMore ? words : `it ended: ${endOf(worker, exit)}`;
}

function endOf({ excess }: PoolWorker, exit: WorkerExit): string {
  if (excess !== undefined) return `it ${excessText(excess)}`;
  if (exit.signal !== null) return `signal ${exit.signal}`;
  return exit.code === null ? "no exit code" : `exit code ${exit.code}`;
}
