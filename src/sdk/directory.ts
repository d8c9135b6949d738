/** How deployed endpoints bind their calls: from the manifest in a worker, else from the server. */

import { Binder } from "../contract/binder.ts";
import type { EndpointDescription } from "../contract/control.ts";
import { FlashError, type Issue } from "../contract/flash-error.ts";
import { findEndpoint, type FunctionManifest } from "../contract/manifest.ts";
import { registry } from "../contract/registry.ts";
import { conflictKey, type Route } from "../contract/routes.ts";
import { compileSchema, type Validator } from "../contract/validator.ts";
import { abortable } from "../kit/abort.ts";
import type { Peer } from "./connection.ts";
import { endpointNotFound, ensureOk, exchange } from "./exchange.ts";

type Description = Pick<EndpointDescription, "kind" | "form" | "functions"> &
  // Servers of earlier versions and development servers do not tell.
  Partial<Pick<EndpointDescription, "fingerprint">>;

/** A description is believed this long, ms: a new release is seen soon, and calls stay one request. */
const FRESH_MS = 30_000;
const TIMEOUT_MS = 30_000;

const known = new Map<string, { at: number; description: Promise<Description> }>();
/** Endpoints that have changed since this worker was built: the server knows them better. */
const outgrown = new Set<string>();

/** Throws `ENDPOINT_NOT_FOUND` when it is not deployed. */
export async function describeEndpoint(
  peer: Peer,
  signal: AbortSignal | undefined,
): Promise<Description> {
  const key = keyOf(peer);
  const { manifest } = registry();
  const own = manifest === undefined ? undefined : findEndpoint(manifest, peer.name);
  if (own !== undefined && !outgrown.has(key)) return own;
  const cached = known.get(key);
  if (cached !== undefined && performance.now() - cached.at < FRESH_MS) {
    return abortable(cached.description, signal);
  }
  const description = fetchDescription(peer);
  known.set(key, { at: performance.now(), description });
  description.catch(() => known.delete(key));
  // Others may wait for the same answer: a signal ends one caller's wait, not the request.
  return abortable(description, signal);
}

/** After an answer that a changed endpoint would give: the next call asks again. */
export function forgetEndpoint(peer: Peer, { isOutgrown }: { isOutgrown: boolean }): void {
  known.delete(keyOf(peer));
  if (isOutgrown) outgrown.add(keyOf(peer));
}

/** The function behind a route. Throws `ROUTE_NOT_FOUND` when the deployed release has none. */
export function routeOf({ functions }: Description, name: string, route: Route): FunctionManifest {
  const key = conflictKey(route);
  const found = functions.find((one) => one.route !== undefined && conflictKey(one.route) === key);
  if (found !== undefined) return found;
  throw new FlashError(
    "ROUTE_NOT_FOUND",
    `endpoint '${name}' is deployed without the route ${route.method} ${route.path}`,
    { hint: "Deploy the project again: the route is newer than the deployed release." },
  );
}

/** The function of a queue endpoint, or the method of that name. Throws `NOT_FOUND`. */
export function functionOf(
  { form, functions }: Description,
  name: string,
  method: string | undefined,
): FunctionManifest {
  const found = form === "class" ? functions.find((one) => one.name === method) : functions[0];
  if (found !== undefined) return found;
  throw new FlashError(
    "NOT_FOUND",
    method === undefined
      ? `endpoint '${name}' is deployed without a function`
      : `endpoint '${name}' is deployed without the method '${method}'`,
    { hint: "Deploy the project again: the code is newer than the deployed release." },
  );
}

const binders = new WeakMap<FunctionManifest, Binder>();

export function binderOf(signature: FunctionManifest): Binder {
  const made = binders.get(signature) ?? new Binder(signature, signature.route);
  binders.set(signature, made);
  return made;
}

const revivers = new WeakMap<FunctionManifest, Validator>();

/** Gives a result its rich values back (dates, sets …) where the function's type has them. */
export function revive(signature: FunctionManifest, value: unknown): unknown {
  if (signature.returns === undefined || value === undefined) return value;
  const validate = revivers.get(signature) ?? compileSchema(signature.returns);
  revivers.set(signature, validate);
  const issues: Issue[] = [];
  const revived = validate(value, "", issues);
  // The worker has checked its result; a type that does not fit here is no reason to lose it.
  return issues.length === 0 ? revived : value;
}

async function fetchDescription(peer: Peer): Promise<Description> {
  const { name, connection } = peer;
  const url = descriptionUrl(peer);
  return exchange(peer, { method: "GET", url, timeoutMs: TIMEOUT_MS }, async (response) => {
    if (response.status === 404 && connection) throw endpointNotFound(name, connection);
    await ensureOk(response, peer);
    return (await response.json()) as Description;
  });
}

function descriptionUrl({ name, connection, describedAt }: Peer): string {
  if (describedAt !== undefined) return describedAt;
  if (connection === undefined) throw new TypeError(`${name} has no description`);
  const { base, app, environment } = connection;
  const query = new URLSearchParams({ app, environment, name });
  return `${base}/api/v1/endpoints?${query.toString()}`;
}

function keyOf({ name, connection, describedAt }: Peer): string {
  return JSON.stringify([
    describedAt ?? connection?.base,
    connection?.app,
    connection?.environment,
    name,
  ]);
}
