/**
 * Where a call runs: the one documented decision. Pure; the SDK gathers the facts and acts on the
 * answer, `where(fn)` shows it.
 */

import type { EndpointKind } from "./options.ts";

export interface CallFacts {
  /** As the registry's: `serve` and `live` processes are workers. */
  mode: "script" | "describe" | "serve" | "live";
  kind: EndpointKind;
  /** Declared through a `Live…` resource. */
  live: boolean;
  /** Declared through a production resource of the older surface (`LoadBalancerSlsResource` …). */
  production: boolean;
  /** `serve` only: this worker serves the called endpoint. */
  owned: boolean;
  /** The process runs under a test runner. */
  testRunner: boolean;
  /** FLASH_MODE: `local` runs everything in process, `remote` nothing; otherwise undefined. */
  forced: "local" | "remote" | undefined;
  /** `deploy()` of this resource has succeeded in this process. */
  deployed: boolean;
  /** An app and credentials are known (FLASH_URL or FLASH_API_KEY). */
  configured: boolean;
  /** `flash run --remote`: Live resources run on live workers. */
  liveWorkers: boolean;
}

export type Place =
  | "refused" // while describing: nothing is called
  | "in-process"
  | "deployed" // HTTP to the endpoint, found by name
  | "own-url" // HTTP to the URL that `deploy()` returned
  | "live-worker" // `/execute`
  | "not-deployed"; // an error that names `deploy()`

export interface Decision {
  place: Place;
  /** The row of the table that applied, a whole sentence for people. */
  reason: string;
  /** True when stderr gets one line, once, saying that nothing is configured. */
  notice?: boolean;
}

export function decideWhere(facts: CallFacts): Decision {
  if (facts.mode === "describe") {
    return { place: "refused", reason: "The project is being built; nothing is called." };
  }
  if (facts.mode === "live") {
    return { place: "in-process", reason: "A live worker runs all that its bundle holds." };
  }
  if (facts.mode === "serve" && facts.owned) {
    return { place: "in-process", reason: "This worker owns the endpoint." };
  }
  if (facts.mode === "serve") {
    return { place: "deployed", reason: "Another endpoint's worker calls the owner by name." };
  }
  if (facts.forced === "local") {
    return { place: "in-process", reason: "FLASH_MODE=local runs everything in this process." };
  }
  if (facts.deployed) {
    return { place: "own-url", reason: "deploy() has set the endpoint's URL." };
  }
  if (facts.testRunner && facts.forced !== "remote") {
    return { place: "in-process", reason: "A test runner runs this process." };
  }
  if (facts.live && facts.liveWorkers) {
    return {
      place: "live-worker",
      reason: "flash run --remote sends Live resources to live workers.",
    };
  }
  if (facts.live) {
    return { place: "in-process", reason: "A Live resource needs no server." };
  }
  if (facts.configured) {
    return { place: "deployed", reason: "An app and credentials are known." };
  }
  if (facts.production || facts.forced === "remote") {
    return { place: "not-deployed", reason: "The resource is not deployed from this process." };
  }
  return { place: "in-process", reason: "Nothing is configured.", notice: true };
}
