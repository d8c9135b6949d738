/**
 * Keys of workers that somebody else starts. A key and its worker's id are made together and told
 * once, as the whole environment of a container; after a restart of the server they still open.
 */

import type { WorkerKeyDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { EndpointRow, Store, WorkerKeyRow } from "../../contract/store.ts";
import { workerEnvironment } from "../../contract/worker-env.ts";
import type { Clock } from "../../kit/clock.ts";
import { newId, newSecret } from "../../kit/ids.ts";
import { digestOf, type Keyring } from "../gateway/auth.ts";
import type { Secrets } from "../identity/secrets.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Pool } from "../workers/pool.ts";

export interface WorkerKeysOptions {
  store: Store;
  keyring: Keyring;
  fleet: Fleet;
  secrets: Secrets;
  clock: Clock;
}

export class WorkerKeys {
  readonly #options: WorkerKeysOptions;

  constructor(options: WorkerKeysOptions) {
    this.#options = options;
  }

  /** Makes the stored keys valid. Returns the workers that may still have jobs from before a restart. */
  async load(): Promise<Set<string>> {
    const { store, fleet } = this.#options;
    const known = new Set<string>();
    for (const key of await store.workerKeys.list()) {
      const pool = fleet.pool(key.endpointId);
      if (pool === undefined) continue;
      this.#admit(key, pool.row);
      known.add(key.workerId);
    }
    const running = await store.jobs.running();
    for (const { workerId, endpointId } of running) {
      if (known.has(workerId)) fleet.pool(endpointId)?.guests.expect(workerId);
    }
    return known;
  }

  /** A new worker of an endpoint. `serverUrl`: as the worker reaches the server. */
  async add(pool: Pool, serverUrl: string): Promise<WorkerKeyDocument> {
    const { row, active } = pool;
    if (row.kind !== "qb" || active.manifest.form !== "image") {
      throw new FlashError(
        "WRONG_ENDPOINT_KIND",
        `'${row.name}' runs its own code: the server starts its workers.`,
        {
          hint: `Declare it with an image to bring workers: Endpoint({ name: "${row.name}", image: "…" }).`,
        },
      );
    }
    const { store, clock } = this.#options;
    const secret = newSecret("flashw");
    const workerId = newId();
    const key = {
      workerId,
      endpointId: row.id,
      digest: digestOf(secret),
      createdAt: clock.now(),
    };
    await store.workerKeys.add(key);
    this.#admit(key, row);
    const { app, environment, name: endpoint } = row;
    const identity = {
      serverUrl,
      app,
      environment,
      endpointId: row.id,
      endpointName: endpoint,
      releaseId: active.releaseId,
      workerId,
      secret,
    };
    const { options } = active.manifest;
    const env = {
      ...fitness(options.cpu !== null),
      ...options.env,
      ...this.#options.secrets.variables(row, options.secrets),
      ...workerEnvironment(identity, "qb"),
    };
    return { app, environment, endpoint, worker: workerId, env };
  }

  /**
   * The worker gets no more jobs, its polls end, and its key is void as soon as it is silent: what it
   * still has it may finish. Throws `NOT_FOUND`.
   */
  async remove(pool: Pool, workerId: string): Promise<void> {
    const { store, keyring } = this.#options;
    const keys = await store.workerKeys.list(pool.row.id);
    const key = keys.find((one) => one.workerId === workerId);
    if (key === undefined) {
      throw new FlashError("NOT_FOUND", `'${pool.row.name}' has no worker key for '${workerId}'.`, {
        hint: "Workers that the server has started come and go with the load.",
      });
    }
    await store.workerKeys.remove(workerId);
    pool.guests.drain(workerId, () => keyring.expelGuest(key.digest));
  }

  /** After the endpoints have been removed, and their keys with them. */
  forget(endpointIds: readonly string[]): void {
    this.#options.keyring.expelGuestsOf(endpointIds);
  }

  #admit({ workerId, endpointId, digest }: WorkerKeyRow, row: EndpointRow): void {
    const { app, environment } = row;
    this.#options.keyring.admitGuest(digest, { workerId, endpointId, app, environment });
  }
}

/**
 * The platform's SDK checks the machine before it takes jobs, and exits where a cloud's machine would
 * do better: with little free memory, or without a way to the Internet.
 */
function fitness(isCpu: boolean): Record<string, string> {
  return {
    RUNPOD_SKIP_AUTO_SYSTEM_CHECKS: "true",
    ...(isCpu ? { RUNPOD_SKIP_GPU_CHECK: "true" } : {}),
    RUNPOD_LOG_LEVEL: "INFO",
  };
}
