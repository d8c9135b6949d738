/**
 * The server as its pools of workers see it: where their secrets, lines and events go, and whom they
 * tell when a worker comes or ends.
 */

import type { LogLine } from "../contract/control.ts";
import type { EndpointRow } from "../contract/store.ts";
import { systemClock } from "../kit/clock.ts";
import { silentLog } from "../kit/log.ts";
import type { Events } from "./control/events.ts";
import type { Logs } from "./control/logs.ts";
import type { Pruner } from "./control/pruner.ts";
import type { Keyring } from "./gateway/auth.ts";
import type { Secrets } from "./identity/secrets.ts";
import type { Jobs } from "./jobs/jobs.ts";
import type { Metrics } from "./metrics/metrics.ts";
import type { Scaler } from "./scaler/scaler.ts";
import type { FlashServerOptions } from "./server-options.ts";
import type { Tracer } from "./traces/tracer.ts";
import type { PoolHost } from "./workers/host.ts";

/** What pools reach. */
interface Reached {
  keyring: Keyring;
  logs: Logs;
  events: Events;
  metrics: Metrics;
  tracer: Tracer | undefined;
  secrets: Secrets;
  /** Made after the pools. */
  parts: () => { localUrl: string; pruner: Pruner; scaler: Scaler; jobs: Jobs };
}

/** `parts` are there once anything is called. */
export function poolHost(
  { compute, store, clock = systemClock, log = silentLog, workerMemoryBytes }: FlashServerOptions,
  { keyring, logs, events, metrics, tracer, secrets, parts }: Reached,
): PoolHost {
  const write = (
    { app, environment, name }: EndpointRow,
    line: Omit<LogLine, "endpoint" | "time"> & { at: number },
  ): void => {
    const { at, ...rest } = line;
    const time = new Date(at).toISOString();
    logs.add({ app, environment, endpoint: name }, { time, ...rest });
  };
  return {
    compute,
    clock,
    log,
    workerMemoryBytes,
    serverUrl: () => parts().localUrl,
    admit: (secret, { workerId, endpoint: { id: endpointId, app, environment } }) => {
      keyring.admit(secret, { workerId, endpointId, app, environment });
    },
    secretsOf: (endpoint, { options }) => secrets.variables(endpoint, options.secrets),
    redact: (endpoint, line) => secrets.redactor(endpoint).redactJson(line),
    expel: (secret) => {
      keyring.expel(secret);
      parts().pruner.workerGone();
    },
    onLine: (endpoint, worker, { text: message, stream, ...facts }) => {
      const level = stream === "stderr" ? "error" : "info";
      write(endpoint, { worker, stream, level, message, ...facts });
    },
    onEvent: (endpoint, worker, message) => {
      write(endpoint, { at: clock.now(), worker, stream: "system", level: "warn", message });
      log.warn("worker trouble", { endpoint: endpoint.name, worker, message });
    },
    isTraced: () => tracer !== undefined,
    onSpan: (endpoint, worker, span) => tracer?.functionRan(endpoint, worker, span),
    emit: ({ app, environment, name: endpoint }, event) => {
      events.emit({ app, environment, endpoint, ...event });
    },
    metricsOf: (endpointId) => metrics.of(endpointId),
    wake: (endpointId) => parts().scaler.wake(endpointId),
    jobs: {
      heldBy: async (workerId) => (await store.jobs.running({ workerId })).length,
      drainWorker: (workerId) => parts().jobs.drainWorker(workerId),
      workerGone: (workerId, exit) => parts().jobs.workerGone(workerId, exit),
    },
  };
}
