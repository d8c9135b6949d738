/**
 * Where declared endpoints meet whoever runs them. User code and the SDK copy bundled with it
 * write here; the compiler (describing) and the worker (serving) read. It lives on `globalThis`
 * under a registered symbol because a process may hold several copies of the SDK.
 */

import type { Manifest } from "./manifest.ts";
import type { EndpointKind, EndpointOptions } from "./options.ts";
import type { HttpMethod } from "./routes.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- a user's function, whatever it takes
export type AnyFunction = (...args: any[]) => unknown;
// oxlint-disable-next-line typescript/no-explicit-any -- a user's class, whatever it takes
export type AnyClass = new (...args: any[]) => object;

export interface RouteDeclaration {
  method: HttpMethod;
  path: string;
  handler: AnyFunction;
  /** Stack at the declaring call, for its file and line. */
  site: string;
}

export interface EndpointDeclaration {
  /** Undefined until derived from the export: then set by the compiler or the worker. */
  name: string | undefined;
  kind: EndpointKind | "client" | undefined;
  options: EndpointOptions;
  resource: string;
  live: boolean;
  /** The function or class of a queue endpoint. */
  target:
    | { form: "function"; handler: AnyFunction }
    | { form: "class"; type: AnyClass }
    | undefined;
  /** Where `target` was given. */
  targetSite: string | undefined;
  routes: RouteDeclaration[];
  /** A function of it runs in its caller (`local: true`): it may have nothing else. */
  hasLocal?: boolean;
  site: string;
}

/** A mistake found while a project is described; the build reports all of them at once. */
export interface DeclarationMistake {
  /** Thrown where nothing is collected. */
  error: { message: string; hint?: string | undefined };
  site: string;
  /** The routes whose functions the message names, in its order. */
  routes?: RouteDeclaration[] | undefined;
}

export interface Registry {
  /**
   * `script`: nobody asked for declarations. `describe`: the compiler evaluates the project;
   * mistakes are collected, nothing is called. `serve`: a worker serves `endpoint`. `live`: a live
   * worker runs what it is sent for `endpoint`.
   */
  mode: "script" | "describe" | "serve" | "live";
  declarations: EndpointDeclaration[];
  mistakes: DeclarationMistake[];
  /** `serve` and `live` only: the endpoint this process owns. */
  endpoint: string | undefined;
  /** `serve` only: the bundle is being evaluated, and the endpoint not yet there. */
  isLoading?: boolean;
  /** The manifest of the app this process belongs to, when known. */
  manifest: Manifest | undefined;
}

const KEY = Symbol.for("runpod-flash.registry");

/** The process's registry, created on first use. */
export function registry(): Registry {
  const holder = globalThis as { [KEY]?: Registry };
  holder[KEY] ??= {
    mode: "script",
    declarations: [],
    mistakes: [],
    endpoint: undefined,
    manifest: undefined,
  };
  return holder[KEY];
}

/**
 * Marks what the SDK returns to user code (a route function, a queue function, a wrapped class),
 * so that an export can be traced to its declaration.
 */
export const DECLARATION = Symbol.for("runpod-flash.declaration");

export interface Declared {
  readonly [DECLARATION]: { endpoint: EndpointDeclaration; route?: RouteDeclaration };
}
