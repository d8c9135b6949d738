/**
 * The one instance of a queue endpoint's class in a process. The worker and in-process calls share
 * it, so that a model is loaded once even when the endpoint's own code calls the endpoint.
 */

import type { AnyClass } from "./registry.ts";

const KEY = Symbol.for("runpod-flash.instances");

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
