/** Route rules of load-balanced endpoints: methods, paths, reserved paths, conflicts, matching. */

export const HTTP_METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH"] as const;
export type HttpMethod = (typeof HTTP_METHODS)[number];

/** Paths that no user route may take, with or without a trailing slash. */
export const RESERVED_PATHS = ["/execute", "/ping"] as const;

export interface Route {
  method: HttpMethod;
  /** Template such as `/users/{user_id}`. */
  path: string;
}

/** The method in upper case, or undefined when it is none of {@link HTTP_METHODS}. */
export function readMethod(method: unknown): HttpMethod | undefined {
  const upper = typeof method === "string" ? method.toUpperCase() : "";
  return (HTTP_METHODS as readonly string[]).includes(upper) ? (upper as HttpMethod) : undefined;
}

/** The seeds' text for a wrong method. */
export function methodMistake(method: unknown): string {
  return `Invalid HTTP method '${String(method)}' must be one of: ${HTTP_METHODS.join(", ")}`;
}

/** What is wrong with a path template, or undefined. Texts are the original's. */
export function pathMistake(path: unknown): string | undefined {
  if (typeof path !== "string" || !path.startsWith("/")) {
    return `path must start with '/', got: ${String(path)}`;
  }
  if (isReserved(path)) {
    return `path '${path}' is reserved by the framework. reserved paths: ${RESERVED_PATHS.join(", ")}`;
  }
  const names = new Set<string>();
  for (const segment of segmentsOf(path)) {
    const name = parameterOf(segment);
    if (name === undefined) {
      if (/[{}]/.test(segment)) {
        return `path '${path}' has a malformed parameter in '${segment}'; write a whole segment such as /{user_id}`;
      }
      const wrong = segmentMistake(segment);
      if (wrong !== undefined) return `path '${path}' ${wrong}`;
      continue;
    }
    if (names.has(name)) return `path '${path}' names the parameter '${name}' twice`;
    names.add(name);
  }
  return undefined;
}

function segmentMistake(segment: string): string | undefined {
  if (segment === "") return "has an empty segment; write single slashes";
  if (/[?#\s]/.test(segment)) return "must not hold '?', '#' or white space";
  const decoded = decodeSegment(segment);
  // Clients resolve these before they send, so such a route could never be reached.
  return decoded === "." || decoded === ".." ? `must not hold the segment '${segment}'` : undefined;
}

/** True for `/ping`, `/ping/`, `/PING`, `/%70ing` … */
export function isReserved(path: string): boolean {
  const plain = `/${segmentsOf(path).map(decodeSegment).join("/")}`.toLowerCase();
  return (RESERVED_PATHS as readonly string[]).includes(plain);
}

/**
 * Two routes conflict when their keys are equal: parameter names, a trailing slash and how a
 * character is escaped do not tell routes apart.
 */
export function conflictKey(route: Route): string {
  const path = segmentsOf(route.path)
    .map((segment) =>
      parameterOf(segment) === undefined ? encodeURIComponent(decodeSegment(segment)) : "{}",
    )
    .join("/");
  return `${route.method} /${path}`;
}

/** Names of the parameters in a path template, in order. */
export function pathParameters(path: string): string[] {
  return segmentsOf(path).flatMap((segment) => parameterOf(segment) ?? []);
}

/** Fills a template: every value is percent-encoded as one segment. */
export function fillPath(path: string, values: Readonly<Record<string, string>>): string {
  const filled = segmentsOf(path).map((segment) => {
    const name = parameterOf(segment);
    return name === undefined ? segment : encodeURIComponent(values[name] ?? "");
  });
  const tail = path.length > 1 && path.endsWith("/") ? "/" : "";
  return `/${filled.join("/")}${tail}`;
}

export type RouteMatch<T> =
  | { kind: "match"; value: T; params: Record<string, string> }
  | { kind: "wrong-method"; allowed: HttpMethod[] }
  | { kind: "none" };

interface Branch<T> {
  fixed: Map<string, Branch<T>>;
  parameter: Branch<T> | undefined;
  methods: Map<HttpMethod, { value: T; names: string[] }>;
}

/**
 * Finds the route of a request. Fixed segments win over parameters; a trailing slash is ignored;
 * HEAD is answered by GET.
 */
export class RouteTable<T> {
  readonly #root: Branch<T> = newBranch();

  add(route: Route, value: T): void {
    let branch = this.#root;
    for (const segment of segmentsOf(route.path)) {
      if (parameterOf(segment) === undefined) {
        const text = decodeSegment(segment);
        const next = branch.fixed.get(text) ?? newBranch<T>();
        branch.fixed.set(text, next);
        branch = next;
      } else {
        branch.parameter ??= newBranch<T>();
        branch = branch.parameter;
      }
    }
    branch.methods.set(route.method, { value, names: pathParameters(route.path) });
  }

  /** `path` is the raw, still percent-encoded path without the query. */
  find(method: string, path: string): RouteMatch<T> {
    const wanted = method === "HEAD" ? "GET" : method;
    const segments = segmentsOf(path);
    const allowed = new Set<HttpMethod>();
    const found = descend(this.#root, segments, 0, [], (branch, values) => {
      const hit = branch.methods.get(wanted as HttpMethod);
      if (hit === undefined) {
        for (const name of branch.methods.keys()) allowed.add(name);
        return undefined;
      }
      const params: Record<string, string> = Object.create(null) as Record<string, string>;
      for (const [index, name] of hit.names.entries()) params[name] = values[index] ?? "";
      return { kind: "match" as const, value: hit.value, params };
    });
    if (found !== undefined) return found;
    if (allowed.size === 0) return { kind: "none" };
    return { kind: "wrong-method", allowed: HTTP_METHODS.filter((name) => allowed.has(name)) };
  }
}

/** Depth first, fixed before parameter, so that `/users/me` beats `/users/{id}`. */
function descend<T, R>(
  branch: Branch<T>,
  segments: readonly string[],
  depth: number,
  values: readonly string[],
  visit: (branch: Branch<T>, values: readonly string[]) => R | undefined,
): R | undefined {
  const segment = segments[depth];
  if (segment === undefined) return branch.methods.size > 0 ? visit(branch, values) : undefined;
  const decoded = decodeSegment(segment);
  const fixed = branch.fixed.get(decoded);
  if (fixed !== undefined) {
    const found = descend(fixed, segments, depth + 1, values, visit);
    if (found !== undefined) return found;
  }
  if (branch.parameter === undefined || segment === "") return undefined;
  return descend(branch.parameter, segments, depth + 1, [...values, decoded], visit);
}

function newBranch<T>(): Branch<T> {
  return { fixed: new Map(), parameter: undefined, methods: new Map() };
}

function segmentsOf(path: string): string[] {
  const trimmed = path.replace(/^\//, "").replace(/\/$/, "");
  return trimmed === "" ? [] : trimmed.split("/");
}

function parameterOf(segment: string): string | undefined {
  return /^\{([A-Za-z_$][\w$]*)\}$/.exec(segment)?.[1];
}

/** A malformed escape is kept as it is; validation then sees the raw text. */
function decodeSegment(segment: string): string {
  if (!segment.includes("%")) return segment;
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
