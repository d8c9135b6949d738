/**
 * Declaring: what user code says about its endpoints, checked and written to the registry. While a
 * project is described, mistakes are collected and work goes on, so that a build reports all of
 * them; otherwise the first one is thrown.
 */

import { FlashError, type FlashErrorOptions } from "../contract/flash-error.ts";
import {
  checkKind,
  checkOptions,
  optionError,
  type EndpointKind,
  type EndpointOptions,
  type OptionMistake,
} from "../contract/options.ts";
import {
  DECLARATION,
  registry,
  type AnyClass,
  type AnyFunction,
  type EndpointDeclaration,
  type RouteDeclaration,
} from "../contract/registry.ts";
import { conflictKey, methodMistake, pathMistake, readMethod } from "../contract/routes.ts";
import type { EndpointDocument } from "../contract/control.ts";

/** What `deploy()` learned about an endpoint. */
export interface Deployment extends EndpointDocument {
  app: string;
  environment: string;
  /** Base URL of the Flash server, or `runpod`. */
  target: string;
}

/** A declared endpoint: the registry's record and what only the SDK needs to know. */
export interface Handle {
  readonly declaration: EndpointDeclaration;
  /** Declared through a production resource of the older surface. */
  readonly production: boolean;
  /** `remote(…, { local: true })`: runs in its caller. */
  readonly isLocal?: boolean;
  deployment: Deployment | undefined;
}

const handles = new WeakMap<object, Handle>();

/** Marks a value as declared by `handle`, for the compiler, the worker and `where()`. */
export function declared<T extends object>(value: T, handle: Handle, route?: RouteDeclaration): T {
  const mark = { endpoint: handle.declaration, ...(route === undefined ? {} : { route }) };
  Object.defineProperty(value, DECLARATION, { value: mark, configurable: true });
  handles.set(value, handle);
  return value;
}

/** The endpoint behind something that the SDK returned. */
export function handleOf(value: object): Handle | undefined {
  return handles.get(value);
}

/** Frames below the declaring call that a compiler may want to see. */
const SITE_FRAMES = 50;

/**
 * The stack at a declaring call, its first frame being the caller of `entry`. Empty unless the
 * project is being described: nobody else asks, and capturing costs.
 */
export function siteOf(entry: AnyFunction): string {
  if (registry().mode !== "describe") return "";
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = SITE_FRAMES;
  const holder: { stack?: string } = {};
  Error.captureStackTrace(holder, entry);
  Error.stackTraceLimit = limit;
  return holder.stack ?? "";
}

/** Throws `error`; while describing, notes it instead. */
export function refuse(error: FlashError, entry: AnyFunction, routes?: RouteDeclaration[]): void {
  const { mode, mistakes } = registry();
  if (mode !== "describe") throw error;
  mistakes.push({ error, site: siteOf(entry), routes });
}

/** Refuses a use of the SDK that cannot work. */
export function misuse(message: string, entry: AnyFunction, options?: FlashErrorOptions): void {
  refuse(new FlashError("INVALID_USAGE", message, options), entry);
}

export interface NewDeclaration {
  kind: EndpointDeclaration["kind"];
  options: EndpointOptions;
  resource: string;
  live: boolean;
  production: boolean;
  /** Mistakes found before the options took their final form. */
  mistakes?: readonly OptionMistake[];
}

/** Checks the options and writes the declaration. */
export function declareEndpoint(fields: NewDeclaration, entry: AnyFunction): Handle {
  const { kind, options, resource, live, production } = fields;
  const known = kind === "client" ? undefined : kind;
  for (const mistake of [...(fields.mistakes ?? []), ...checkOptions(options, known)]) {
    refuse(optionError(mistake), entry);
  }
  const declaration: EndpointDeclaration = {
    name: options.name,
    kind,
    options,
    resource,
    live,
    target: undefined,
    targetSite: undefined,
    routes: [],
    site: siteOf(entry),
  };
  const { mode, declarations } = registry();
  // A script's declarations interest nobody, and a server that makes a client for every request
  // must not fill the memory with them.
  const isKept = mode === "describe" || (mode !== "script" && kind !== "client");
  if (isKept) declarations.push(declaration);
  return { declaration, production, deployment: undefined };
}

/** The function or class of a queue endpoint; exactly one may be given. */
export function declareTarget(
  handle: Handle,
  target: NonNullable<EndpointDeclaration["target"]>,
  entry: AnyFunction,
): void {
  const { declaration } = handle;
  if (declaration.target !== undefined) {
    const label = declaration.name === undefined ? "this endpoint" : `'${declaration.name}'`;
    misuse(
      `${label} already runs '${targetName(declaration)}'. a queue-based endpoint has exactly one function or class.`,
      entry,
      { hint: "Declare another endpoint with a name of its own for the second one." },
    );
    return;
  }
  settleKind(handle, "qb", entry);
  declaration.target = target;
  declaration.targetSite = siteOf(entry);
}

export interface NewRoute {
  method: unknown;
  path: unknown;
  handler: AnyFunction;
}

/** The text of a second route with the same method and path. */
export type ConflictText = (route: RouteDeclaration, earlier: RouteDeclaration) => string;

/** Checks and writes a route. Undefined when it was refused while describing. */
export function declareRoute(
  handle: Handle,
  { method, path, handler }: NewRoute,
  { entry, conflict }: { entry: AnyFunction; conflict: ConflictText },
): RouteDeclaration | undefined {
  const { declaration } = handle;
  settleKind(handle, "lb", entry);
  const verb = readMethod(method);
  if (verb === undefined) {
    misuse(methodMistake(method), entry);
    return undefined;
  }
  const wrong = pathMistake(path);
  if (wrong !== undefined) {
    misuse(wrong, entry);
    return undefined;
  }
  const route = { method: verb, path: path as string, handler, site: siteOf(entry) };
  const earlier = declaration.routes.find((one) => conflictKey(one) === conflictKey(route));
  if (earlier !== undefined) {
    const error = new FlashError("INVALID_USAGE", conflict(route, earlier), {
      hint: "Change the path or the method so that each route is unique.",
    });
    refuse(error, entry, [earlier, route]);
    return undefined;
  }
  declaration.routes.push(route);
  return route;
}

/** How messages call a function. */
export function functionName(handler: AnyFunction | AnyClass): string {
  return handler.name === "" ? "an anonymous function" : handler.name;
}

/** The name by which an endpoint is called; undefined when it only takes one from its export. */
export function nameOf({ declaration }: Handle): string | undefined {
  if (declaration.name !== undefined) return declaration.name;
  const name = declaration.target === undefined ? "" : targetName(declaration);
  return name === "" ? undefined : name;
}

function targetName({ target }: EndpointDeclaration): string {
  if (target === undefined) return "";
  return target.form === "class" ? target.type.name : target.handler.name;
}

/** An endpoint's kind is known from its first use; some options are only wrong for one kind. */
function settleKind({ declaration }: Handle, kind: EndpointKind, entry: AnyFunction): void {
  if (declaration.kind !== undefined) return;
  declaration.kind = kind;
  for (const mistake of checkKind(declaration.options, kind)) refuse(optionError(mistake), entry);
}
