/** Gathers the facts about a call and asks `contract/where` where it runs. */

import { FlashError } from "../contract/errors.ts";
import { registry } from "../contract/registry.ts";
import { decideWhere, type Decision, type Place } from "../contract/where.ts";
import { nameOf, type Handle } from "./declare.ts";
import { readMode, readVariable } from "./environment.ts";
import { isTestRunner } from "./test-runner.ts";

/** Where a call of this endpoint runs, now. Throws `INVALID_CONFIG` for a wrong FLASH_MODE. */
export function decidePlace(handle: Handle): Decision {
  const { mode, endpoint } = registry();
  if (handle.isLocal === true && mode !== "describe") {
    return { place: "in-process", reason: "remote() was told to run it locally." };
  }
  if (handle.declaration.kind === "client" && mode !== "describe") {
    return { place: "deployed", reason: "A client always calls its endpoint." };
  }
  const name = nameOf(handle);
  return decideWhere({
    mode,
    kind: handle.declaration.kind === "lb" ? "lb" : "qb",
    live: handle.declaration.live,
    production: handle.production,
    owned: name !== undefined && name === endpoint,
    testRunner: isTestRunner(),
    forced: readMode(),
    deployed: handle.deployment !== undefined,
    configured:
      readVariable("FLASH_URL") !== undefined || readVariable("FLASH_API_KEY") !== undefined,
    // `flash run` runs Live resources in its local workers; nothing starts live workers elsewhere.
    liveWorkers: false,
  });
}

/** As {@link decidePlace}, for a call that is about to happen: the notice is given. */
export function placeCall(handle: Handle): Place {
  const { place, notice } = decidePlace(handle);
  if (notice === true) noticeOnce();
  return place;
}

const handles = new WeakMap<object, Handle>();

/** Makes `where(value)` work. */
export function traceable<T extends object>(value: T, handle: Handle): T {
  handles.set(value, handle);
  return value;
}

/** The endpoint behind something that the SDK returned. */
export function handleOf(value: object): Handle | undefined {
  return handles.get(value);
}

/**
 * Where a call of this function would run, and the reason in words: the table in the guide. Takes
 * what `Endpoint` and `remote` return, an endpoint with routes, or a resource.
 */
export function where(value: object): { place: Place; reason: string } {
  const handle = handleOf(value);
  if (handle === undefined) {
    throw new FlashError(
      "INVALID_USAGE",
      "where() takes a function, class or endpoint that Endpoint() or remote() returned.",
    );
  }
  const { place, reason } = decidePlace(handle);
  return { place, reason };
}

/** What a call meets while the project is being described: the compiler expects it. */
export function describingError(): FlashError {
  return new FlashError("INVALID_USAGE", "Nothing is called while the project is being built.", {
    hint: "Move calls out of the module's top level, into a function that only your script runs.",
    details: { describing: true },
  });
}

export function notDeployedError(): FlashError {
  return new FlashError(
    "NOT_DEPLOYED",
    "Endpoint URL not available - endpoint may not be deployed",
    {
      hint: "Call 'await resource.deploy()' first, set FLASH_URL to call what 'flash deploy' has deployed, or use a Live resource in tests.",
    },
  );
}

/** A rejection that is no unhandled one when nobody waits for it: evaluation simply goes on. */
export function refusal(): Promise<never> {
  const refused = Promise.reject(describingError());
  refused.catch(() => undefined);
  return refused;
}

const NOTICED = Symbol.for("runpod-flash.noticed");

function noticeOnce(): void {
  const holder = globalThis as { [NOTICED]?: boolean };
  if (holder[NOTICED] === true) return;
  holder[NOTICED] = true;
  console.error(
    "runpod-flash: no server is configured, so functions run in this process. " +
      "Run 'flash deploy' and set FLASH_URL to call deployed endpoints; FLASH_MODE=local hides this line.",
  );
}
