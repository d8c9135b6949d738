/** Where the call behind a request comes from, and the span that it begins when traces are kept. */

import type { IncomingMessage, ServerResponse } from "node:http";
import type { Origin } from "../../contract/origin.ts";
import type { Trace } from "../../contract/trace.ts";
import type { Tracer } from "../traces/tracer.ts";
import type { Fleet } from "../workers/fleet.ts";
import type { Pool } from "../workers/pool.ts";
import type { Principal } from "./http.ts";
import { callerNameOf, originOf } from "./origin.ts";

/** A request of somebody who has been recognised. */
export interface ClientCall {
  request: IncomingMessage;
  response: ServerResponse;
  principal: Principal;
}

const NOWHERE: Origin = { chain: [] };

export class CallSpans {
  readonly #fleet: Fleet;
  readonly #tracer: Tracer | undefined;

  /** `tracer`: undefined when nobody keeps traces. */
  constructor(fleet: Fleet, tracer: Tracer | undefined) {
    this.#fleet = fleet;
    this.#tracer = tracer;
  }

  /** For a load-balanced request, `path` of it. The origin is undefined where nobody would be told it. */
  ofRequest(
    pool: Pool,
    path: string,
    call: ClientCall,
  ): { origin: Origin | undefined; trace: Trace | undefined } {
    const isTold = call.principal.kind === "worker" || this.#tracer !== undefined;
    const origin = isTold ? this.#originOf(call) : undefined;
    return { origin, trace: this.#begin(pool, path, { ...call, origin }) };
  }

  /** For what submits a job; asked once. */
  ofJob(pool: Pool, call: ClientCall): Origin {
    const origin = this.#originOf(call);
    const trace = this.#begin(pool, call.request.url ?? "/", { ...call, origin });
    return trace === undefined ? origin : { ...origin, trace };
  }

  #originOf({ request, principal }: ClientCall): Origin {
    const nameOf = (id: string): string | undefined => this.#fleet.pool(id)?.row.name;
    return originOf(request, callerNameOf(principal, nameOf));
  }

  /** The span ends with the answer. */
  #begin(
    pool: Pool,
    path: string,
    { request, response, origin = NOWHERE }: ClientCall & { origin: Origin | undefined },
  ): Trace | undefined {
    if (this.#tracer === undefined) return undefined;
    const span = this.#tracer.request(pool.row, origin, { method: request.method ?? "GET", path });
    response.once("close", () => span.end(response.headersSent ? response.statusCode : 0));
    return span.trace;
  }
}
