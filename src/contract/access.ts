/**
 * Who may do what: verbs, scopes, and the one function that decides. A key has verbs and a scope; a
 * route names the verbs that open it, how much of the server it touches, and how narrow a key may be
 * that still opens it.
 */

/** `read` looks, `call` uses endpoints, `deploy` changes what is deployed, `admin` may do everything. */
export const VERBS = ["read", "call", "deploy", "admin"] as const;
export type Verb = (typeof VERBS)[number];

/** From wide to narrow. */
export const LEVELS = ["server", "app", "environment", "endpoint"] as const;
export type Level = (typeof LEVELS)[number];

/** `public`: no key. `worker`: the secret of the worker that the path names. Else any one of the verbs. */
export type Access = "public" | "worker" | KeyAccess;

export interface KeyAccess {
  verbs: readonly Verb[];
  /** A worker's secret opens it too, within the worker's app and environment. */
  workers?: true;
}

/** What a key reaches; `null`: all of them. An environment is only ever named within an app. */
export interface Scope {
  app: string | null;
  environment: string | null;
  endpoint: string | null;
}

export const WHOLE_SERVER: Scope = { app: null, environment: null, endpoint: null };

/** What a request is about, as far as it says. */
export type Resource = Partial<Record<"app" | "environment" | "endpoint", string>>;

const PARTS = ["app", "environment", "endpoint"] as const;

/** Why a scope does not reach a resource: the part that differs; undefined when it does. */
export function outOfScope(
  scope: Scope,
  resource: Resource,
  narrowest: Level,
): (typeof PARTS)[number] | undefined {
  const limit = LEVELS.indexOf(narrowest);
  return PARTS.find((part) => {
    const own = scope[part];
    if (own === null) return false;
    const asked = resource[part];
    // Not named means all of them, which is more than this key has, unless the route says otherwise.
    return asked === undefined ? LEVELS.indexOf(part) > limit : asked !== own;
  });
}

/** True when a thing belongs to what a key may see: lists leave the rest out. */
export function isInScope(scope: Scope, thing: Resource): boolean {
  return outOfScope(scope, thing, "endpoint") === undefined;
}

/** True when one of the verbs is enough. */
export function hasVerb(own: readonly Verb[], wanted: readonly Verb[]): boolean {
  return own.includes("admin") || wanted.some((verb) => own.includes(verb));
}
