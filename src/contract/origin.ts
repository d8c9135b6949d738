/**
 * Where a call comes from: its trace, the endpoint that made it, and the functions that wait for it.
 * It travels as headers, and with a job as the member {@link ORIGIN_MEMBER} of its message. Only the
 * trace is believed to anybody; caller and chain are the server's own words, or those of a worker that
 * has shown its secret.
 *
 * A function is named `endpoint` on queue endpoints, `endpoint method` where a class has several, and
 * `endpoint GET /path` on load-balanced ones.
 */

import { isPlainJsonObject } from "./json.ts";
import { LIMITS } from "./limits.ts";
import type { EndpointManifest } from "./manifest.ts";
import type { Route } from "./routes.ts";
import { TRACE_HEADERS, readTrace, traceparentOf, type Trace } from "./trace.ts";

export interface Origin {
  trace?: Trace;
  /** Name of the endpoint whose function made the call. */
  caller?: string;
  /** The functions that wait for this call, the outermost first. */
  chain: readonly string[];
}

export const ORIGIN_HEADERS = {
  caller: "x-flash-caller",
  /** Names of functions, percent-encoded, with commas between them. */
  chain: "x-flash-chain",
  /** `1`: the job is of no use when the connection that waits for it ends. */
  attached: "x-flash-attached",
} as const;

/** In the message of a job, beside `id` and `input`. */
export const ORIGIN_MEMBER = "flashOrigin";

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** What headers say, whoever has written them. */
export function originOfHeaders(headers: Headers): Origin {
  const trace = readTrace(headers[TRACE_HEADERS.parent], headers[TRACE_HEADERS.state]);
  const caller = headers[ORIGIN_HEADERS.caller];
  return {
    ...(trace === undefined ? {} : { trace }),
    ...(typeof caller === "string" ? { caller } : {}),
    chain: readChain(headers[ORIGIN_HEADERS.chain]),
  };
}

/** The functions in a chain header. */
export function readChain(header: string | string[] | undefined): string[] {
  if (typeof header !== "string" || header === "") return [];
  try {
    return header.split(",").map(decodeURIComponent);
  } catch {
    return [];
  }
}

export function chainHeader(chain: readonly string[]): string {
  return chain.map(encodeURIComponent).join(",");
}

/** An origin as JSON, for a job; undefined when there is nothing to say. */
export function originMember({ trace, caller, chain }: Origin): object | undefined {
  if (trace === undefined && caller === undefined && chain.length === 0) return undefined;
  return {
    ...(trace === undefined ? {} : { [TRACE_HEADERS.parent]: traceparentOf(trace) }),
    ...(trace?.state === undefined ? {} : { [TRACE_HEADERS.state]: trace.state }),
    ...(caller === undefined ? {} : { caller }),
    ...(chain.length === 0 ? {} : { chain }),
  };
}

/** What the message of a job says. */
export function originOfMember(value: unknown): Origin {
  if (!isPlainJsonObject(value)) return { chain: [] };
  const { caller, chain } = value;
  const trace = readTrace(value[TRACE_HEADERS.parent], value[TRACE_HEADERS.state]);
  const names = Array.isArray(chain) ? chain.filter((name) => typeof name === "string") : [];
  return {
    ...(trace === undefined ? {} : { trace }),
    ...(typeof caller === "string" ? { caller } : {}),
    chain: names,
  };
}

type Functions = Pick<EndpointManifest, "name" | "functions" | "form">;

/** The name of a load-balanced endpoint's function in chains. */
export function routeLabel({ name }: Pick<Functions, "name">, route: Route | undefined): string {
  return route === undefined ? name : `${name} ${route.method} ${route.path}`;
}

/** The name of the function of a queue endpoint that takes this input. */
export function jobLabel({ name, functions, form }: Functions, input: unknown): string {
  if (form !== "class" || functions.length < 2) return name;
  const method = isPlainJsonObject(input) ? input["method"] : undefined;
  return typeof method === "string" ? `${name} ${method}` : name;
}

/** The endpoint in the name of a function. */
export function endpointOfLabel(label: string): string {
  const cut = label.indexOf(" ");
  return cut === -1 ? label : label.slice(0, cut);
}

/** Why a call must not be made; undefined when it may. The text names the cycle. */
export function loopIn(chain: readonly string[], target: string): string | undefined {
  const start = chain.indexOf(target);
  if (start !== -1) {
    const cycle = [...chain.slice(start), target].map((label) => `'${label}'`).join(" → ");
    return `The call would never end: ${cycle}.`;
  }
  if (chain.length < LIMITS.callDepth) return undefined;
  return `Calls between endpoints are ${chain.length} deep, the limit is ${LIMITS.callDepth}: ${chain.join(" → ")} → ${target}.`;
}
