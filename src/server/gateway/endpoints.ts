/**
 * Which endpoint a request means, by id, by name or by a job of it, and whether its caller may have it:
 * no plane gets a pool of a client's in another way.
 */

import type { IncomingMessage } from "node:http";
import type { Resource } from "../../contract/access.ts";
import { jobRouteOf, OTHER_ROUTES, type ApiRoute } from "../../contract/api-routes.ts";
import { FlashError } from "../../contract/errors.ts";
import { NAME_HEADERS } from "../../contract/worker-env.ts";
import type { Jobs } from "../jobs/jobs.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Pool } from "../workers/pool.ts";
import { authorize } from "./auth.ts";
import type { Principal } from "./http.ts";
import type { Target } from "./target.ts";

/** The headers of a request, which may name an endpoint. */
export interface Named {
  headers: Readonly<Partial<Record<string, string | string[]>>>;
}

/** Who calls, and what. */
export interface Caller {
  principal: Principal;
  route: Pick<ApiRoute, "access" | "touches">;
}

/** What only the operator may ask for: an operation that is in no table does not open to anybody else. */
const UNKNOWN_ROUTE: Caller["route"] = { access: { verbs: ["admin"] }, touches: "server" };
/** Operations on a job, whose id alone tells the endpoint. */
const JOB_OPERATIONS = new Set(["status", "status-sync", "stream", "cancel", "retry"]);
/** The pseudo id of calls by name. */
const BY_NAME = "flash";

/** All of its methods throw `ENDPOINT_NOT_FOUND` and, where the caller's key does not reach, `FORBIDDEN`. */
export class Endpoints {
  readonly #fleet: Fleet;
  readonly #jobs: Jobs;

  constructor(fleet: Fleet, jobs: Jobs) {
    this.#fleet = fleet;
    this.#jobs = jobs;
  }

  /** The endpoint of that id, or of the name headers when the id is `flash`. */
  require(id: string, request: Named, caller: Caller): Pool {
    const pool = id === BY_NAME ? this.#byName(request, caller) : this.#fleet.pool(id);
    if (pool === undefined) {
      throw new FlashError("ENDPOINT_NOT_FOUND", `There is no endpoint '${id}'.`, {
        hint: "'flash status' lists the endpoints with their URLs.",
      });
    }
    authorize(caller.principal, caller.route, resourceOf(pool));
    return pool;
  }

  /** Throws `WRONG_ENDPOINT_KIND` for a queue endpoint. */
  requireLoadBalanced(id: string, request: Named, principal: Principal): Pool {
    const pool = this.require(id, request, { principal, route: OTHER_ROUTES.request });
    if (pool.row.kind === "lb") return pool;
    throw new FlashError("WRONG_ENDPOINT_KIND", "not allowed for QB API", {
      hint: `'${pool.row.name}' is a queue endpoint: use /v2/${pool.row.id}/run or /runsync.`,
    });
  }

  /** Throws `WRONG_ENDPOINT_KIND` for a load-balanced one, of which only the health can be asked. */
  async requireQueue(
    target: Target & { kind: "v2" },
    request: IncomingMessage,
    principal: Principal,
  ): Promise<Pool> {
    const pool =
      (await this.#ofJob(target, request, principal)) ??
      this.require(target.id, request, { principal, route: routeOf(target, request) });
    const [operation = ""] = target.operation;
    if (pool.row.kind !== "lb" || operation === "health") return pool;
    const message = `'${pool.row.name}' is a load-balanced endpoint: it has no '${operation}'.`;
    throw new FlashError("WRONG_ENDPOINT_KIND", message, {
      hint: `Send requests to /lb/${pool.row.id}{path}.`,
    });
  }

  /** Calls by name may leave the name out when they name a job. */
  async #ofJob(
    target: Target & { kind: "v2" },
    request: IncomingMessage,
    principal: Principal,
  ): Promise<Pool | undefined> {
    const [operation = "", jobId = ""] = target.operation;
    const isNamed = request.headers[NAME_HEADERS.endpoint] !== undefined;
    if (target.id !== BY_NAME || isNamed || !JOB_OPERATIONS.has(operation)) return undefined;
    const job = await this.#jobs.get(jobId);
    const pool = job === undefined ? undefined : this.#fleet.pool(job.endpointId);
    if (pool === undefined) throw new FlashError("JOB_NOT_FOUND", `There is no job '${jobId}'.`);
    authorize(principal, routeOf(target, request), resourceOf(pool));
    return pool;
  }

  #byName(request: Named, { principal, route }: Caller): Pool {
    const app = nameOf(request, "app");
    const environment = nameOf(request, "environment");
    const name = nameOf(request, "endpoint");
    // Asked before looking: nobody learns anything about other environments.
    authorize(principal, route, { app, environment, endpoint: name });
    const pool = this.#fleet.find(app, environment, name);
    if (pool !== undefined) return pool;
    throw new FlashError(
      "ENDPOINT_NOT_FOUND",
      `There is no endpoint '${name}' in the environment '${environment}' of the app '${app}'.`,
      { hint: "Run 'flash deploy', or look at 'flash status'." },
    );
  }
}

function routeOf(target: Target & { kind: "v2" }, request: IncomingMessage): Caller["route"] {
  return jobRouteOf(target.operation[0] ?? "", request.method ?? "") ?? UNKNOWN_ROUTE;
}

function resourceOf({ row: { app, environment, name } }: Pool): Resource {
  return { app, environment, endpoint: name };
}

function nameOf(request: Named, part: keyof typeof NAME_HEADERS): string {
  const value = request.headers[NAME_HEADERS[part]];
  if (typeof value === "string" && value !== "") return value;
  throw new FlashError("INVALID_REQUEST", `The header '${NAME_HEADERS[part]}' is missing.`, {
    hint: "Calls by name need X-Flash-App, X-Flash-Environment and X-Flash-Endpoint.",
  });
}
