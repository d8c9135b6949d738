/**
 * The one instance of a queue endpoint's class in a process. The worker and in-process calls share
 * it, so that a model is loaded once even when the endpoint's own code calls the endpoint.
 */

import type { AnyClass } from "./registry.ts";

const KEY = Symbol.for("runpod-flash.instances");

/** Called by whoever runs the instance: after it is made, and when the worker ends. */
export const HOOKS: readonly string[] = ["init", "close"];

/**
 * Creates the instance on first use, without arguments, and awaits its `init()` when it has one.
 * A failure reaches every caller that waited for it, and the next call tries again.
 */
export function instanceOf(type: AnyClass): Promise<object> {
  const holder = globalThis as { [KEY]?: WeakMap<AnyClass, Promise<object>> };
  const instances = (holder[KEY] ??= new WeakMap());
  const known = instances.get(type);
  if (known !== undefined) return known;
  const created = create(type);
  instances.set(type, created);
  created.catch(() => instances.delete(type));
  return created;
}

async function create(type: AnyClass): Promise<object> {
  const instance = new type();
  const { init } = instance as { init?: unknown };
  if (typeof init === "function") await (init as () => unknown).call(instance);
  return instance;
}

/**
 * Names of the methods that an endpoint made of `type` has, inherited ones included: public (no
 * leading `_`), and neither `constructor` nor a hook.
 */
export function publicMethods(type: AnyClass): string[] {
  return methodNames(type).filter((name) => !name.startsWith("_") && !HOOKS.includes(name));
}

/** Methods that exist and may not be called from outside. */
export function privateMethods(type: AnyClass): string[] {
  return methodNames(type).filter((name) => name.startsWith("_"));
}

function methodNames(type: AnyClass): string[] {
  const names = new Set<string>();
  let prototype = type.prototype as object | null;
  while (prototype !== null && prototype !== Object.prototype) {
    for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
      if (name !== "constructor" && typeof property.value === "function") names.add(name);
    }
    prototype = Object.getPrototypeOf(prototype) as object | null;
  }
  return [...names];
}
