/** Events: what happens to apps, endpoints and workers, in order. Documents of `GET /api/v1/events`. */

export const EVENT_KINDS = [
  /** The server answers, or begins to end. */
  "server.started",
  "server.stopping",
  /** A build became the environment's active release; a rollback is one of an earlier build. */
  "release.active",
  "endpoint.added",
  "endpoint.removed",
  /** The scaler wants another number of workers. */
  "endpoint.scaled",
  "worker.started",
  "worker.ready",
  /** It fails its health check; then: it is well again. */
  "worker.unhealthy",
  "worker.healthy",
  /** The server ended it, and why. */
  "worker.stopped",
  /** It ended by itself, or could not start. */
  "worker.crashed",
  /** A reader did not keep up. */
  "events.skipped",
] as const;
export type EventKind = (typeof EVENT_KINDS)[number];

export interface EventDocument {
  /** Grows with time, over restarts too. */
  id: string;
  /** ISO 8601. */
  time: string;
  kind: EventKind;
  /** A sentence for people. */
  message: string;
  app?: string;
  environment?: string;
  endpoint?: string;
  worker?: string;
  release?: string;
  /** What else there is to know: the build, the scaler's inputs, a time in ms. */
  details?: Record<string, unknown>;
}

/** Which events are asked for: the newest `tail` that fit; with `follow` every further one. */
export interface EventQuery {
  tail: number;
  follow: boolean;
  app?: string;
  environment?: string;
  endpoint?: string;
  worker?: string;
  /** A kind, or the first part of some: `worker`. */
  kind?: string;
  /** Not before this time, epoch ms. */
  since?: number;
  /** Only what came after the event with this id. */
  after?: string;
}
