/** Gathers the facts about a call and asks `contract/where` where it runs. */

import { FlashError } from "../contract/flash-error.ts";
import { registry } from "../contract/registry.ts";
import { decideWhere, type Decision, type Place } from "../contract/where.ts";
import { nameOf, type Handle } from "./declare.ts";
import { readMode, readVariable } from "./environment.ts";
import { isTestRunner } from "./test-runner.ts";

/** Where a call of this endpoint runs, now. Throws `INVALID_CONFIG` for a wrong FLASH_MODE. */
export function decidePlace(handle: Handle): Decision {
  const { mode, endpoint, isLoading } = registry();
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
    // A call at a module's top level runs here as long as the module loads: two endpoints that wait
    // for each other's workers to load would wait for ever.
    owned: isLoading === true || (name !== undefined && name === endpoint),
    testRunner: isTestRunner(),
    forced: readMode(),
    deployed: handle.deployment !== undefined,
    configured:
      readVariable("FLASH_URL") !== undefined || readVariable("FLASH_API_KEY") !== undefined,
    liveWorkers: readVariable("FLASH_LIVE_URL") !== undefined,
  });
}

/** As {@link decidePlace}, for a call that is about to happen: the notice is given. */
export function placeCall(handle: Handle): Place {
  const { place, notice } = decidePlace(handle);
  if (notice === true) noticeOnce();
  return place;
}

export function notDeployedError(): FlashError {
  return new FlashError(
    "NOT_DEPLOYED",
    "Endpoint URL not available - endpoint may not be deployed",
    {
      hint: "Call 'await resource.deploy()' first, set FLASH_URL to the target that 'flash status' shows, or use a Live resource in tests.",
    },
  );
}

const NOTICED = Symbol.for("runpod-flash.noticed");

function noticeOnce(): void {
  const holder = globalThis as { [NOTICED]?: boolean };
  if (holder[NOTICED] === true) return;
  holder[NOTICED] = true;
  console.error(
    "runpod-flash: no server is configured, so functions run in this process. " +
      "Run 'flash deploy' and set FLASH_URL to the target that 'flash status' shows; FLASH_MODE=local hides this line.",
  );
}
