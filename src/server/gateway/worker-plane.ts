/**
 * What workers ask: their door into the queue, with HTTP or over one connection. Only the key of a worker
 * that is there opens it, and of every guest whose endpoint is still an image.
 */

import type { IncomingMessage, ServerResponse } from "node:http";
import { WORKER_ROUTES } from "../../contract/api-routes.ts";
import { FlashError } from "../../contract/errors.ts";
import { LINK_PROTOCOL } from "../../contract/job-link.ts";
import { sleep, type Clock } from "../../kit/clock.ts";
import type { Log } from "../../kit/log.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Pool } from "../workers/pool.ts";
import type { PoolWorker } from "../workers/pool-worker.ts";
import type { Keyring } from "./auth.ts";
import { JobLink } from "./job-link.ts";
import type { UpgradeRequest } from "./lb-upgrade.ts";
import type { Target } from "./target.ts";
import { handleWorkerApi } from "./worker-api.ts";

export interface WorkerPlaneOptions {
  fleet: Fleet;
  jobs: Jobs;
  keyring: Keyring;
  clock: Clock;
  log: Log;
}

type WorkerTarget = Target & { kind: "v2" };

/** Whose key it is; without a `worker` it is a guest. */
interface Known {
  pool: Pool;
  workerId: string;
  worker: PoolWorker | undefined;
}

const LINK_OPERATION = "job-link";
const OPERATIONS = new Set(Object.keys(WORKER_ROUTES).filter((name) => name !== LINK_OPERATION));
/** Workers try again at once after a 401, so it is held, ms. Source: spec/worker-protocol.md 16. */
const UNAUTHORIZED_HOLD_MS = 1000;
/** What a worker leaves in its take URL. Source: spec/worker-protocol.md 2.3. */
const UNEXPANDED_WORKER = "$RUNPOD_POD_ID";

/** Where it goes when it is a request that workers send. */
export function requestOfWorker(target: Target): WorkerTarget | undefined {
  if (target.kind !== "v2") return undefined;
  return OPERATIONS.has(target.operation[0] ?? "") ? target : undefined;
}

/** Where it goes when it is an upgrade that workers ask for. */
export function linkOfWorker(target: Target): WorkerTarget | undefined {
  if (target.kind !== "v2") return undefined;
  return target.operation[0] === LINK_OPERATION ? target : undefined;
}

export class WorkerPlane {
  readonly #options: WorkerPlaneOptions;
  /** By worker. */
  readonly #links = new Map<string, JobLink>();

  constructor(options: WorkerPlaneOptions) {
    this.#options = options;
  }

  async answer(
    target: WorkerTarget,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { pool, workerId, worker } = await this.#require(target, request);
    if (request.headers.expect !== undefined) response.writeContinue();
    if (worker === undefined) stayUntilClosed(response, pool.guests.enter(workerId));
    const call = {
      jobs: this.#options.jobs,
      endpointId: target.id,
      // A guest's image is none of ours: it takes the jobs of every release.
      releaseId: worker?.version.releaseId,
      worker: { id: workerId, secretOk: true },
      onSeen: (id: string) => pool.seen(id),
      onUnhealthy: (id: string, { check, reason }: { check: string; reason: string }) =>
        pool.reportUnfit(id, `fitness check '${check}' failed: ${reason}`),
    };
    await handleWorkerApi(call, target.operation, request, response);
  }

  /** Resolves when the connection ends. */
  async link(target: WorkerTarget, { request, socket, head }: UpgradeRequest): Promise<void> {
    const { pool, workerId, worker } = await this.#require(target, request);
    if (request.headers.upgrade !== LINK_PROTOCOL || pool.row.kind !== "qb") {
      throw new FlashError("INVALID_REQUEST", `A job link is an upgrade to '${LINK_PROTOCOL}'.`);
    }
    const { jobs, log } = this.#options;
    const link = new JobLink({
      jobs,
      socket,
      endpointId: pool.row.id,
      releaseId: worker?.version.releaseId,
      workerId,
      isLocal: worker !== undefined,
      onSeen: () => pool.seen(workerId),
      log: log.with({ endpoint: pool.row.name, worker: workerId }),
    });
    const leave = worker === undefined ? pool.guests.enter(workerId) : undefined;
    worker?.onGone(() => link.close());
    // An earlier one is dead, whether the operating system has noticed or not.
    this.#links.get(workerId)?.close();
    this.#links.set(workerId, link);
    await link.serve(head);
    if (this.#links.get(workerId) === link) this.#links.delete(workerId);
    leave?.();
  }

  /** Ends the connections of workers, which know no end of their own. */
  closeLinks(): void {
    for (const link of this.#links.values()) link.close();
  }

  /** The worker that the path names, when the key is its own. Throws `UNAUTHORIZED` after a while. */
  async #require(target: WorkerTarget, request: IncomingMessage): Promise<Known> {
    const { keyring, fleet, clock } = this.#options;
    // Unmodified workers append `&name=value` to a template without `?`.
    const named = (target.operation[1] ?? "").split("&", 1)[0] ?? "";
    const principal = keyring.find(request.headers.authorization);
    // They do not expand it in a take template; then the key says who it is.
    const isLiteral = named === UNEXPANDED_WORKER && principal?.kind === "worker";
    const workerId = isLiteral ? (principal.workerId ?? "") : named;
    const isOwn =
      principal?.kind === "worker" &&
      principal.endpointId === target.id &&
      principal.workerId === workerId;
    const pool = fleet.pool(target.id);
    const worker = pool?.worker(workerId);
    const isGuest = isOwn && principal.isGuest === true && isForGuests(pool);
    if (isOwn && pool !== undefined && (worker !== undefined || isGuest)) {
      return { pool, workerId, worker };
    }
    await sleep(clock, UNAUTHORIZED_HOLD_MS);
    throw new FlashError("UNAUTHORIZED", "The key is not that of a running worker.");
  }
}

/** Also when the connection ended before anybody listened. */
function stayUntilClosed(response: ServerResponse, leave: () => void): void {
  if (response.closed || response.destroyed) leave();
  else response.once("close", leave);
}

/** Whoever has a key of an endpoint that has since got code of its own is not needed any more. */
function isForGuests(pool: Pool | undefined): boolean {
  return pool?.active.manifest.form === "image";
}
