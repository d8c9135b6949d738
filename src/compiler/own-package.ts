/**
 * Where this package itself lies on disk: the SDK that user code gets, its types, the worker runtime
 * that goes into every artifact, and the version. Works from `src/` and from `dist/` alike.
 */

import { existsSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { FlashError } from "../contract/errors.ts";

export interface OwnPackage {
  version: string;
  /** Folder that holds the SDK and all it imports. */
  base: string;
  /** Module that `runpod-flash` means, absolute. */
  sdk: string;
  /** What the type checker reads for it, absolute. */
  types: string;
  /** The self-contained worker program, absolute. */
  runtime: string;
}

/** The installed package. In a checkout that is not built yet, the SDK's sources stand in. */
export function ownPackage(): OwnPackage {
  const root = fileURLToPath(new URL("../../", import.meta.url));
  const { version } = JSON.parse(readFileSync(`${root}package.json`, "utf8")) as {
    version: string;
  };
  const built = `${root}dist/sdk/sdk.js`;
  const isBuilt = existsSync(built);
  const sdk = isBuilt ? built : `${root}src/sdk/sdk.ts`;
  const types = isBuilt ? `${root}dist/sdk/sdk.d.ts` : sdk;
  return {
    version,
    base: dirname(dirname(sdk)),
    sdk,
    types,
    runtime: `${root}dist/runtime/worker.mjs`,
  };
}

/** The worker runtime's bytes. Throws `INTERNAL` when the package is incomplete. */
export function readRuntime(own: OwnPackage): Buffer {
  try {
    return readFileSync(own.runtime);
  } catch (cause) {
    throw new FlashError("INTERNAL", `Could not find runpod-flash: ${own.runtime} is missing.`, {
      cause,
      hint: "Install runpod-flash again; in a checkout of it, run `npm run build`.",
    });
  }
}
