/** Which methods of a class an endpoint made of it has. */

import type { AnyClass } from "./registry.ts";

/** Called by whoever runs the instance: after it is made, and when the worker ends. */
export const HOOKS: readonly string[] = ["init", "close"];

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
