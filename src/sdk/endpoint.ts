/** `Endpoint`: declares queue functions, queue classes and routes, and makes clients. */

import type { ServerlessScalerType } from "../contract/hardware.ts";
import { describe, isRecord, workersOf, type EndpointOptions } from "../contract/options.ts";
import type { AnyClass, AnyFunction } from "../contract/registry.ts";
import { Callable } from "./callable.ts";
import { Client } from "./client.ts";
import {
  declareEndpoint,
  declareRoute,
  declareTarget,
  declared,
  functionName,
  misuse,
  type Handle,
} from "./declare.ts";
import { queueClass, queueFunction, routeFunction } from "./functions.ts";
import type { EndpointFactory, RouteFunction, RouteRegistrar } from "./types.ts";

/**
 * Declares an endpoint, with or without `new`.
 *
 *   Endpoint(options, fn)          a queue endpoint; also Endpoint(options)(fn)
 *   Endpoint(options, class {…})   a queue endpoint that is loaded once a worker; also as @decorator
 *   Endpoint(options).get(path, fn), .post, .put, .delete, .patch    routes
 *   Endpoint({ id }), Endpoint({ name, image })                      clients
 *
 * A string stands for `{ name }`. Throws `INVALID_OPTIONS` with the first mistake.
 */
export const Endpoint = /* @__PURE__ */ makeFactory();

function makeFactory(): EndpointFactory {
  function Endpoint(given: EndpointOptions | string, target?: AnyFunction | AnyClass): unknown {
    const options = readOptions(given, Endpoint);
    const isClient = options.id !== undefined || options.image !== undefined;
    if (isClient) {
      const client = new Client(options, Endpoint);
      return target === undefined ? client : client.refuseDecoration(Endpoint);
    }
    const fields = {
      kind: undefined,
      options,
      resource: "Endpoint",
      live: false,
      production: false,
    };
    const handle = declareEndpoint(fields, Endpoint);
    return target === undefined ? new Builder(handle) : applyTo(handle, target, Endpoint);
  }
  Object.defineProperty(Endpoint, Symbol.hasInstance, {
    value: (value: unknown) => value instanceof Builder || value instanceof Client,
  });
  return Endpoint as unknown as EndpointFactory;
}

/** An endpoint before its first use decides what it is. */
class Builder extends Callable {
  readonly #handle: Handle;

  constructor(handle: Handle) {
    const apply = (target: AnyFunction | AnyClass): unknown => applyTo(handle, target, apply);
    super(apply);
    this.#handle = handle;
    declared(this, handle);
  }

  get = this.#registrar("GET");
  post = this.#registrar("POST");
  put = this.#registrar("PUT");
  delete = this.#registrar("DELETE");
  patch = this.#registrar("PATCH");
  route = (method: string, path: string, handler: AnyFunction): unknown =>
    this.#register([method, path, handler], this.route);

  get name(): string | undefined {
    return this.#handle.declaration.name;
  }

  get #options(): EndpointOptions {
    return this.#handle.declaration.options;
  }

  get isCpu(): boolean {
    return this.#options.cpu !== undefined;
  }

  get isClient(): boolean {
    return false;
  }

  get isLoadBalanced(): boolean {
    return this.#handle.declaration.routes.length > 0;
  }

  get workersMin(): number {
    return workersOf(this.#options.workers)[0];
  }

  get workersMax(): number {
    return workersOf(this.#options.workers)[1];
  }

  get scalerType(): ServerlessScalerType {
    const { scalerType } = this.#options;
    return scalerType ?? (this.isLoadBalanced ? "REQUEST_COUNT" : "QUEUE_DELAY");
  }

  #registrar(method: string): RouteRegistrar {
    const register = (path: string, ...rest: unknown[]): unknown => {
      if (rest.length === 0) {
        const curried = (handler: AnyFunction): unknown =>
          this.#register([method, path, handler], curried);
        return curried;
      }
      if (rest.length > 1 || typeof rest[0] !== "function") {
        const verb = method.toLowerCase();
        misuse(
          `data and keyword arguments are only valid in client mode (Endpoint with id= or image=). in decorator mode, use @api.${verb}('/path') with no extra arguments.`,
          register,
          { hint: `Register a route: api.${verb}('/path', handler).` },
        );
        return undefined;
      }
      return this.#register([method, path, rest[0] as AnyFunction], register);
    };
    return register as RouteRegistrar;
  }

  #register(
    [method, path, handler]: [method: string, path: string, handler: AnyFunction],
    entry: AnyFunction,
  ): RouteFunction<AnyFunction> | undefined {
    const handle = this.#handle;
    ensureRoutable(handle, entry);
    const route = declareRoute(
      handle,
      { method, path, handler },
      {
        entry,
        conflict: (one, earlier) =>
          `duplicate route: ${one.method} ${one.path} (already registered to '${functionName(earlier.handler)}')`,
      },
    );
    // While describing, a refused route must not stop the module: later mistakes count as well.
    return routeFunction(handle, route ?? { method: "GET", path, handler, site: "" });
  }
}

/** Applies an endpoint to one function or class. */
function applyTo(handle: Handle, target: AnyFunction | AnyClass, entry: AnyFunction): unknown {
  if (typeof target !== "function") {
    misuse(`Endpoint() takes a function or class to run, got ${typeof target}`, entry);
    return target;
  }
  if (handle.declaration.routes.length > 0) {
    misuse(
      "cannot use Endpoint as a direct decorator after registering routes with .get()/.post()/etc. use one pattern or the other.",
      entry,
    );
  } else if (isClass(target)) {
    declareTarget(handle, { form: "class", type: target }, entry);
  } else {
    declareTarget(handle, { form: "function", handler: target }, entry);
  }
  return isClass(target) ? queueClass(handle, target) : queueFunction(handle, target);
}

/** Classes cannot be called; their `prototype` is read-only, which no function's is. */
export function isClass(value: AnyFunction | AnyClass): value is AnyClass {
  return Object.getOwnPropertyDescriptor(value, "prototype")?.writable === false;
}

function ensureRoutable({ declaration }: Handle, entry: AnyFunction): void {
  if (declaration.name === undefined) {
    misuse(
      "name is required for load-balanced endpoints. use Endpoint(name='my-api', ...) when registering routes.",
      entry,
      { hint: "Write Endpoint({ name: 'my-api' })." },
    );
  }
  if (declaration.target !== undefined) {
    misuse(
      "cannot add routes after using Endpoint as a direct decorator. use one pattern or the other.",
      entry,
    );
  }
}

function readOptions(given: unknown, entry: AnyFunction): EndpointOptions {
  if (typeof given === "string") return { name: given };
  if (isRecord(given)) return { ...given };
  misuse(`Endpoint() takes options or a name, got ${describe(given)}`, entry, {
    hint: "Write Endpoint({ name: 'my-endpoint' }).",
  });
  return {};
}
