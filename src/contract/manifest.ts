/**
 * The manifest: what the compiler found, and all that a worker, a server or a cloud needs to know
 * about a project. It travels inside the artifact as `flash_manifest.json`.
 *
 * Layout of an artifact:
 *
 *   flash_manifest.json
 *   worker.mjs                       the worker runtime, self-contained
 *   sdk.mjs                          the SDK that the bundles share
 *   endpoints/<name>/index.mjs       one bundle an endpoint, with index.mjs.map
 *   endpoints/<name>/node_modules/   packages of the endpoint's `dependencies`
 *   .compiled/                       written by workers where they can: what V8 has compiled
 */

import { FlashError } from "./errors.ts";
import type { EndpointKind, ResolvedOptions } from "./options.ts";
import type { Route } from "./routes.ts";
import type { JsonSchema } from "./schema.ts";

/** Version of the manifest format that this package writes and reads. */
export const MANIFEST_VERSION = 1;

export const MANIFEST_FILE = "flash_manifest.json";
export const WORKER_FILE = "worker.mjs";
export const SDK_FILE = "sdk.mjs";

/** One parameter of a function, in order. */
export interface Parameter {
  name: string;
  /** `{}` when nothing is known about the type. */
  schema: JsonSchema;
  /** False for `x?: T` and for `x = default`. */
  required: boolean;
  /** `...rest`: takes all remaining positional values; its schema is the array's. */
  rest?: boolean;
  /**
   * `value` travels as JSON; `bytes` (Uint8Array, File, Blob) as multipart form data; `request` is
   * the raw Web Request; `context` is filled by the worker.
   */
  carrier: "value" | "bytes" | "request";
  description?: string;
}

/** A callable of an endpoint, as the compiler saw it. */
export interface Signature {
  parameters: Parameter[];
  /** Schema of the awaited result; undefined when nothing is known. */
  returns?: JsonSchema;
  /** True for async generators and streams. */
  streams: boolean;
  /** False for functions without types: inputs are bound by name and not validated. */
  checked: boolean;
}

export interface FunctionManifest extends Signature {
  /** Export name, else the function's own name, else `METHOD /path`. A class's method name. */
  name: string;
  /** Load-balanced endpoints only. */
  route?: Route;
  /** First sentence of the doc comment. */
  summary?: string;
  description?: string;
}

export interface EndpointManifest {
  name: string;
  kind: EndpointKind;
  /** `class`: `functions` are its public methods. `image`: no code of ours. */
  form: "function" | "class" | "routes" | "image";
  /** True when declared through a `Live…` resource. Deployed, it behaves as its production form. */
  live: boolean;
  /**
   * Live workers of `flash run --remote` only: no code of its own; `POST /execute` runs what it is sent
   * for an endpoint of this kind. The compiler never writes it for what `flash deploy` deploys.
   */
  executes?: EndpointKind;
  /** The class the user wrote: `Endpoint`, `LiveLoadBalancer`, … For messages only. */
  resource: string;
  options: ResolvedOptions;
  functions: FunctionManifest[];
  /** Project files whose evaluation declares the endpoint, relative, with `/`. */
  files: string[];
  /** Path of the bundle in the artifact; undefined for `image`. */
  bundle?: string;
  /** Names of endpoints of this app that the code may call. */
  calls: string[];
  /** SHA-256 over bundle, options, signatures, packages and runtime: equal means nothing to roll. */
  fingerprint: string;
  /** SHA-256 over bundle, packages and runtime alone, to tell what of the fingerprint has changed. */
  code?: string;
  /** Exact package versions installed for this endpoint. */
  packages: Record<string, string>;
}

export interface Manifest {
  version: typeof MANIFEST_VERSION;
  app: string;
  /** Version of `runpod-flash` that built it. */
  builtWith: string;
  endpoints: EndpointManifest[];
  /** SHA-256 over all fingerprints. */
  fingerprint: string;
}

/** What a manifest says of one endpoint: all that its worker has to know at the start. */
export interface ManifestPart {
  builtWith: string;
  endpoint: EndpointManifest;
}

/** Reads a manifest. Throws `INVALID_MANIFEST`. Unknown fields are kept. */
export function readManifest(text: string, from: string): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new FlashError(
      "INVALID_MANIFEST",
      `Invalid manifest JSON at ${from}: ${(cause as Error).message}`,
      {
        cause,
        hint: "Run 'flash build' again.",
      },
    );
  }
  const manifest = value as Partial<Manifest> | null;
  if (typeof manifest !== "object" || manifest === null || !Array.isArray(manifest.endpoints)) {
    throw new FlashError(
      "INVALID_MANIFEST",
      `Invalid manifest at ${from}: missing 'endpoints' section`,
      {
        hint: "Run 'flash build' again.",
      },
    );
  }
  if (manifest.version !== MANIFEST_VERSION) {
    throw new FlashError(
      "INVALID_MANIFEST",
      `The manifest at ${from} has format version ${String(manifest.version)}; this version of runpod-flash reads ${MANIFEST_VERSION}.`,
      { hint: "Build and deploy with the same version of runpod-flash as the server." },
    );
  }
  return manifest as Manifest;
}

/** The endpoint of that name, or undefined. */
export function findEndpoint(manifest: Manifest, name: string): EndpointManifest | undefined {
  return manifest.endpoints.find((endpoint) => endpoint.name === name);
}
