/** What a pool of workers needs from the rest of the server. */

import type { MemoryExcess, WorkerExit } from "../../contract/compute.ts";
import type { EventDocument } from "../../contract/events.ts";
import type { EndpointRow } from "../../contract/store.ts";
import type { EndpointMetrics } from "../metrics/endpoint-metrics.ts";
import type { LifeHost } from "./life.ts";

export interface PoolHost extends LifeHost {
  /** Makes a secret valid for a worker, and void again. */
  admit(secret: string, worker: { workerId: string; endpoint: EndpointRow }): void;
  expel(secret: string): void;
  /** A line about a worker that the worker has not written. */
  onEvent(endpoint: EndpointRow, workerId: string, message: string): void;
  /** Something has happened to a worker. */
  emit(endpoint: EndpointRow, event: WorkerEvent): void;
  metricsOf(endpointId: string): EndpointMetrics;
  /** The endpoint's load or workers have changed. */
  wake(endpointId: string): void;
  jobs: {
    /** How many jobs the worker holds. */
    heldBy(workerId: string): Promise<number>;
    drainWorker(workerId: string): void;
    workerGone(
      workerId: string,
      exit: WorkerExit & { logTail: string[]; endedBecause?: string; excess?: MemoryExcess },
    ): Promise<void>;
  };
}

export type WorkerEvent = Pick<EventDocument, "kind" | "message" | "release" | "details"> & {
  worker: string;
};
