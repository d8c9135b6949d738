/** `remote`: gives a resource of the older surface its functions. */

import { closest } from "../contract/options.ts";
import type { AnyClass, AnyFunction } from "../contract/registry.ts";
import {
  declareRoute,
  declareTarget,
  functionName,
  handleOf,
  misuse,
  type Handle,
} from "./declare.ts";
import { isClass } from "./endpoint.ts";
import { queueClass, queueFunction, routeFunction } from "./functions.ts";
import { liveRouteFunction } from "./live-route.ts";
import {
  isResource,
  type AnyResource,
  type CpuLiveLoadBalancer,
  type CpuLiveServerless,
  type CpuLoadBalancerSlsResource,
  type CpuServerlessEndpoint,
  type LiveLoadBalancer,
  type LiveServerless,
  type LoadBalancerSlsResource,
  type ServerlessEndpoint,
} from "./resources.ts";
import type { QueueClass, QueueFunction, RouteFunction, RouteMethod, RoutePath } from "./types.ts";

type LiveRoutes = LiveLoadBalancer | CpuLiveLoadBalancer;
type DeployedRoutes = LoadBalancerSlsResource | CpuLoadBalancerSlsResource;
type Queue = LiveServerless | CpuLiveServerless | ServerlessEndpoint | CpuServerlessEndpoint;

export interface RemoteOptions {
  /** npm packages that stay outside the bundle; added to the resource's. */
  dependencies?: readonly string[];
  /** Operating system packages; added to the resource's. */
  systemDependencies?: readonly string[];
  accelerateDownloads?: boolean;
  /** Always run in the caller's process. A queue function is then not deployed. */
  local?: boolean;
}

export interface RouteOptions extends RemoteOptions {
  /** GET, POST, PUT, DELETE or PATCH, in any case. */
  method: RouteMethod;
  /** Starts with `/`; may hold parameters such as `/users/{user_id}`. Not `/ping`, not `/execute`. */
  path: RoutePath;
}

/** Applied to one function or class of a queue resource. */
export interface QueueApplication {
  <C extends AnyClass>(type: C, context: ClassDecoratorContext): C;
  <C extends AnyClass>(type: C): QueueClass<C>;
  <F extends AnyFunction>(handler: F): QueueFunction<F>;
}

/** What `remote` takes beside a resource. */
export type OptionsAt<R extends AnyResource> = R extends Queue ? RemoteOptions : RouteOptions;

/** What `remote` makes of a function or class at a resource. */
export type RemoteAt<R extends AnyResource, T> = R extends LiveRoutes
  ? T
  : R extends DeployedRoutes
    ? T extends AnyFunction
      ? RouteFunction<T>
      : never
    : T extends AnyClass
      ? QueueClass<T>
      : T extends AnyFunction
        ? QueueFunction<T>
        : never;

/** Classes are for queues alone. */
type TakenBy<R extends AnyResource> = R extends Queue ? AnyClass : never;

/** What `remote` without a function returns. */
export type RemoteCurried<R extends AnyResource> = R extends Queue
  ? QueueApplication
  : <F extends AnyFunction>(handler: F) => RemoteAt<R, F>;

/**
 * Makes a function run at a resource: `remote(resource, { method, path }, fn)`, or
 * `remote(resource, fn)` for queue resources; without the function it returns what takes it.
 * A route of a `Live…` resource keeps the type and behaviour of the function, also a synchronous
 * one's; every other call gives a promise. Throws `INVALID_USAGE`.
 */
// One overload for each number of arguments, as far as it goes: of several the compiler tells about the last.
export function remote<R extends AnyResource, T extends AnyFunction | TakenBy<R>>(
  resource: R,
  options: OptionsAt<R>,
  target: T,
): RemoteAt<R, T>;
export function remote<R extends Queue, T extends AnyFunction | AnyClass>(
  resource: R,
  target: T,
): RemoteAt<R, T>;
export function remote<R extends AnyResource>(resource: R, options: OptionsAt<R>): RemoteCurried<R>;
export function remote(resource: Queue): QueueApplication;
export function remote(
  resource: AnyResource,
  optionsOrTarget?: RemoteOptions | AnyFunction | AnyClass,
  target?: AnyFunction | AnyClass,
): unknown {
  const isTarget = typeof optionsOrTarget === "function";
  const given = (isTarget ? {} : (optionsOrTarget ?? {})) as Partial<RouteOptions>;
  const handle = isResource(resource) ? handleOf(resource) : undefined;
  if (handle === undefined) {
    misuse("remote() takes a resource such as LiveLoadBalancer first", remote, {
      hint: "Write remote(new LiveLoadBalancer({ name: 'my-api' }), { method, path }, fn).",
    });
    return isTarget ? optionsOrTarget : target;
  }
  checkOptions(handle, given, remote);
  const code = isTarget ? optionsOrTarget : target;
  if (code !== undefined) return apply(handle, [given, code], remote);
  const curried = (later: AnyFunction | AnyClass): unknown =>
    apply(handle, [given, later], curried);
  return curried;
}

const KNOWN = [
  "method",
  "path",
  "dependencies",
  "systemDependencies",
  "accelerateDownloads",
  "local",
];

function checkOptions(handle: Handle, options: Partial<RouteOptions>, entry: AnyFunction): void {
  const unknown = Object.keys(options).filter((key) => !KNOWN.includes(key));
  if (unknown.length > 0) {
    const listed = unknown.map((key) => {
      const near = closest(key, KNOWN);
      return `'${key}'${near === undefined ? "" : ` (Did you mean '${near}'?)`}`;
    });
    const noun = unknown.length === 1 ? "argument" : "arguments";
    misuse(`remote() got unknown keyword ${noun}: ${listed.join(", ")}`, entry);
  }
  const { method, path } = options;
  const { kind, resource } = handle.declaration;
  if (kind === "lb" && (method === undefined || path === undefined)) {
    misuse(
      `LoadBalancerSlsResource requires both 'method' and 'path' parameters. Got method=${String(method)}, path=${String(path)}.`,
      entry,
      { hint: "Example: remote(resource, { method: 'POST', path: '/api/process' }, fn)." },
    );
  }
  if (kind === "qb" && (method !== undefined || path !== undefined)) {
    console.warn(
      `HTTP routing parameters (method=${String(method)}, path=${String(path)}) are only used with LoadBalancerSlsResource, but resource_config is ${resource}. They will be ignored.`,
    );
  }
}

function apply(
  handle: Handle,
  [options, code]: [Partial<RouteOptions>, AnyFunction | AnyClass],
  entry: AnyFunction,
): unknown {
  if (typeof code !== "function") {
    misuse(`remote() takes a function or class to run, got ${typeof code}`, entry);
    return code;
  }
  if (handle.declaration.kind === "lb") return applyRoute(handle, [options, code], entry);
  const isLocal = options.local === true;
  if (isLocal) handle.declaration.hasLocal = true;
  addPackages(handle, isLocal ? {} : options);
  if (isClass(code)) {
    if (!isLocal) declareTarget(handle, { form: "class", type: code }, entry);
    return queueClass(here(handle, isLocal), code);
  }
  if (!isLocal) declareTarget(handle, { form: "function", handler: code }, entry);
  return queueFunction(here(handle, isLocal), code);
}

function applyRoute(
  handle: Handle,
  [options, code]: [Partial<RouteOptions>, AnyFunction | AnyClass],
  entry: AnyFunction,
): unknown {
  const { method, path } = options;
  if (isClass(code)) {
    misuse(`a class cannot be a route: '${code.name}' needs a queue resource`, entry, {
      hint: "Use LiveServerless or ServerlessEndpoint, or give the route a function.",
    });
    return code;
  }
  addPackages(handle, options);
  // Without both, the mistake is already known: nothing more is said about the route.
  const isComplete = method !== undefined && path !== undefined;
  const route = isComplete
    ? declareRoute(
        handle,
        { method, path, handler: code },
        {
          entry,
          conflict: (one, earlier) =>
            `Route conflict detected: ${one.method} ${one.path} defined twice (by '${functionName(earlier.handler)}' and '${functionName(one.handler)}')`,
        },
      )
    : undefined;
  const known = route ?? { method: "GET", path: "/", handler: code, site: "" };
  const where = here(handle, options.local === true);
  return handle.declaration.live ? liveRouteFunction(where, known) : routeFunction(where, known);
}

/** `local` calls run in this process whatever the rules say. */
function here(handle: Handle, isLocal: boolean): Handle {
  return isLocal ? { ...handle, isLocal } : handle;
}

function addPackages({ declaration }: Handle, options: RemoteOptions): void {
  const { options: own } = declaration;
  const { dependencies, systemDependencies, accelerateDownloads } = options;
  if (dependencies !== undefined) own.dependencies = union(own.dependencies, dependencies);
  if (systemDependencies !== undefined) {
    own.systemDependencies = union(own.systemDependencies, systemDependencies);
  }
  if (accelerateDownloads !== undefined) own.accelerateDownloads = accelerateDownloads;
}

function union(own: readonly string[] = [], more: readonly string[]): string[] {
  return [...new Set([...own, ...more])];
}
