/** Routes of Live resources, which in process are exactly the user's functions, synchronous ones too. */

import type { AnyFunction, RouteDeclaration } from "../contract/registry.ts";
import { declared, type Handle } from "./declare.ts";
import { describingError, refusal } from "./describing.ts";
import { named } from "./functions.ts";
import { runInProcess } from "./in-process.ts";
import { placeCall } from "./place.ts";

/** A route of a Live resource: in process exactly the user's function, its exceptions included. */
export function liveRouteFunction(handle: Handle, route: RouteDeclaration): AnyFunction {
  const isAsync = route.handler.constructor.name === "AsyncFunction";
  const call = (...args: unknown[]): unknown => {
    const place = placeCall(handle);
    if (place === "in-process") return runInProcess(() => route.handler(...args));
    if (place !== "refused") {
      return import("./dispatch.ts").then(({ callRouteAt }) =>
        callRouteAt(place, { handle, route }, { args, options: {} }),
      );
    }
    if (isAsync) return refusal();
    throw describingError();
  };
  named(call, route.handler);
  return declared(call, handle, route);
}
