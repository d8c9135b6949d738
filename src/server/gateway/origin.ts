/**
 * Where a call comes from, as far as it can be believed: a trace to anybody, caller and chain to a
 * worker that has shown its secret, and of these only what fits whose secret it is. Also who must not
 * be called: a function that waits for this very call.
 */

import { FlashError } from "../../contract/errors.ts";
import type { EndpointManifest } from "../../contract/manifest.ts";
import {
  ORIGIN_HEADERS,
  chainHeader,
  endpointOfLabel,
  jobLabel,
  loopIn,
  readChain,
  routeLabel,
  type Origin,
} from "../../contract/origin.ts";
import { RouteTable, type Route } from "../../contract/routes.ts";
import { TRACE_HEADERS, readTrace, traceparentOf, type Trace } from "../../contract/trace.ts";
import type { Principal } from "./http.ts";

/** `callerName`: name of the worker's endpoint, when a worker calls. */
export function originOf(
  { headers }: { headers: Readonly<Partial<Record<string, string | string[]>>> },
  callerName: string | undefined,
): Origin {
  const trace = readTrace(headers[TRACE_HEADERS.parent], headers[TRACE_HEADERS.state]);
  const traced = trace === undefined ? {} : { trace };
  if (callerName === undefined) return { ...traced, chain: [] };
  const claimed = readChain(headers[ORIGIN_HEADERS.chain]);
  const last = claimed.at(-1);
  // A call that names no function of the caller's own was not made by our SDK: it begins a chain.
  const isOwn = last !== undefined && endpointOfLabel(last) === callerName;
  return { ...traced, caller: callerName, chain: isOwn ? claimed : [] };
}

/** The endpoint of a calling worker, found by its id. */
export function callerNameOf(
  principal: Principal,
  nameOf: (endpointId: string) => string | undefined,
): string | undefined {
  return principal.kind === "worker" ? nameOf(principal.endpointId) : undefined;
}

/** Headers for the worker that is called. */
export function originHeaders({ caller, chain }: Origin): string[] {
  if (caller === undefined) return [];
  const headers: string[] = [ORIGIN_HEADERS.caller, caller];
  if (chain.length > 0) headers.push(ORIGIN_HEADERS.chain, chainHeader(chain));
  return headers;
}

/** Throws `CALL_LOOP` when the function that takes this input waits for the call. */
export function refuseJobLoop({ chain }: Origin, manifest: EndpointManifest, input: unknown): void {
  if (chain.length > 0) refuseLoop(chain, jobLabel(manifest, input));
}

/** The trace for a worker, in place of what the client sent: the span that the gateway has begun. */
export function traceHeaders(trace: Trace): string[] {
  const headers: string[] = [TRACE_HEADERS.parent, traceparentOf(trace)];
  if (trace.state !== undefined) headers.push(TRACE_HEADERS.state, trace.state);
  return headers;
}

const tables = new WeakMap<EndpointManifest, RouteTable<Route>>();

/** Throws `CALL_LOOP` when the function behind this path waits for the call. */
export function refuseRouteLoop(
  { chain }: Origin,
  manifest: EndpointManifest,
  { method = "GET", path }: { method: string | undefined; path: string },
): void {
  if (chain.length === 0) return;
  const table = tables.get(manifest) ?? tableOf(manifest);
  tables.set(manifest, table);
  const cut = path.indexOf("?");
  const match = table.find(method, cut === -1 ? path : path.slice(0, cut));
  refuseLoop(chain, routeLabel(manifest, match.kind === "match" ? match.value : undefined));
}

function tableOf({ functions }: EndpointManifest): RouteTable<Route> {
  const table = new RouteTable<Route>();
  for (const { route } of functions) if (route !== undefined) table.add(route, route);
  return table;
}

function refuseLoop(chain: readonly string[], target: string): void {
  const loop = loopIn(chain, target);
  if (loop === undefined) return;
  throw new FlashError("CALL_LOOP", loop, {
    hint: "Let one of them return what the other needs, or hand the work on with run(), which waits for nobody.",
  });
}

/** Throws `STALE_DESCRIPTION` when the caller has encoded its call for another version of the endpoint. */
export function refuseStale(
  expected: string | string[] | undefined,
  manifest: EndpointManifest,
): void {
  if (expected === undefined || expected === manifest.fingerprint) return;
  throw new FlashError(
    "STALE_DESCRIPTION",
    `'${manifest.name}' has a newer release than the one that this call was made for.`,
    { hint: "Ask for its description again." },
  );
}
