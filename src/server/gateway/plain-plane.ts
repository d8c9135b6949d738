/**
 * Plain requests (server/edge), which have a way of their own past Node's HTTP server: those to
 * load-balanced endpoints, and submissions and looks at jobs. What is not taken here, and every refusal,
 * is left to the gateway's full way.
 */

import {
  EXPECTED_VERSION_HEADER,
  REQUEST_ID_HEADER,
  WORKER_ID_HEADER,
} from "../../contract/worker-env.ts";
import { givenRequestId } from "../../kit/ids.ts";
import type { Log } from "../../kit/log.ts";
import type { PlainExchange } from "../edge/exchange.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { Pool } from "../workers/pool.ts";
import { readAffinity, type Affinity } from "../workers/select.ts";
import type { Keyring } from "./auth.ts";
import type { Endpoints } from "./endpoints.ts";
import type { Principal } from "./http.ts";
import { planJob, servePlainJob, type JobPlan } from "./job-plain.ts";
import { servePlain, workerHead } from "./lb-plain.ts";
import { hostName, readTarget, type Target } from "./target.ts";

export interface PlainPlaneOptions {
  endpoints: Endpoints;
  jobs: Jobs;
  keyring: Keyring;
  log: Log;
  /** Requests to queue endpoints are counted, which happens in one place, and that is not here. */
  isCounted: boolean;
  /** Says of which host names no request is answered. */
  isForeign: (host: string | undefined) => boolean;
  /** Requests come from a proxy of ours. Default false. */
  trustsProxy?: boolean;
}

/** What follows from the head of a request. */
export type PlainPlan = RequestPlan | JobPlan;

export class PlainPlane {
  readonly #options: PlainPlaneOptions;

  constructor(options: PlainPlaneOptions) {
    this.#options = options;
  }

  /** Made once for every head that a connection has. Undefined: not one of those taken here. */
  planOf(exchange: PlainExchange): PlainPlan | undefined {
    const { head } = exchange;
    if (head.plan !== undefined) return head.plan as PlainPlan;
    if (this.#options.isForeign(hostName(head.host))) return undefined;
    const target = readTarget(head.target, head.host);
    head.plan = this.#planFor(exchange, target);
    return head.plan as PlainPlan | undefined;
  }

  get #trustsProxy(): boolean {
    return this.#options.trustsProxy ?? false;
  }

  #planFor(exchange: PlainExchange, target: Target): PlainPlan | undefined {
    if (target.kind === "lb") return new RequestPlan(exchange, target, this.#trustsProxy);
    return target.kind === "v2" && !this.#options.isCounted
      ? planJob(exchange.head, target)
      : undefined;
  }

  /** False: nothing was done. */
  answer(exchange: PlainExchange, plan: PlainPlan): boolean {
    const { headers } = exchange.head;
    const principal = this.#options.keyring.recognise({ headers, socket: exchange.socket });
    if (principal === undefined) return false;
    const isTaken =
      plan.kind === "job"
        ? this.#answerJob(exchange, plan, principal)
        : this.#answerRequest(exchange, plan, principal);
    if (isTaken) this.#endWithKey(exchange, principal);
    return isTaken;
  }

  #endWithKey(exchange: PlainExchange, principal: Principal): void {
    const { onOver } = exchange;
    // Over already.
    if (onOver === undefined) return;
    const over = this.#options.keyring.begin(principal, () => exchange.socket.destroy());
    if (over === undefined) return;
    exchange.onOver = () => {
      over();
      onOver();
    };
  }

  #answerJob(exchange: PlainExchange, plan: JobPlan, principal: Principal): boolean {
    const { endpoints, jobs, log } = this.#options;
    const { headers } = exchange.head;
    let pool: Pool;
    try {
      pool = endpoints.require(plan.id, { headers }, { principal, route: plan.route });
    } catch {
      return false;
    }
    // Calls of workers tell where they come from.
    if (pool.row.kind === "lb" || principal.kind === "worker") return false;
    const { row, active } = pool;
    const endpoint = { row, releaseId: active.releaseId, manifest: active.manifest };
    return servePlainJob({ plan, exchange, endpoint, jobs, log });
  }

  #answerRequest(exchange: PlainExchange, plan: RequestPlan, principal: Principal): boolean {
    const { headers } = exchange.head;
    let pool: Pool;
    try {
      pool = this.#options.endpoints.requireLoadBalanced(plan.id, { headers }, principal);
    } catch {
      return false;
    }
    // Calls of workers carry more than a plain request, and stale ones are refused.
    if (principal.kind === "worker" || isStale(plan, pool)) return false;
    const { path, affinity, head, requestId } = plan;
    const isOperator = principal.kind === "operator";
    const to = { path, affinity, head, requestId, trustsProxy: this.#trustsProxy };
    return servePlain({ ...to, exchange, pool, isOperator });
  }
}

/** Where a request to a load-balanced endpoint goes, and what a worker gets of its head. */
class RequestPlan {
  readonly kind = "lb";
  readonly id: string;
  readonly path: string;
  readonly affinity: Affinity;
  readonly head: Buffer;
  readonly requestId: string | undefined;
  /** The version that the call was encoded for, if it says. */
  readonly expected: string | undefined;

  constructor(
    exchange: PlainExchange,
    { id, path }: Target & { kind: "lb" },
    trustsProxy: boolean,
  ) {
    this.id = id;
    this.path = path;
    this.affinity = readAffinity(exchange.head.headers[WORKER_ID_HEADER]);
    this.head = workerHead(exchange, { path, trustsProxy });
    this.requestId = givenRequestId(exchange.head.headers[REQUEST_ID_HEADER]);
    this.expected = exchange.head.headers[EXPECTED_VERSION_HEADER];
  }
}

function isStale({ expected }: RequestPlan, pool: Pool): boolean {
  return expected !== undefined && expected !== pool.active.manifest.fingerprint;
}
