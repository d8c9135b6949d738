/** Step 7, first half: the manifest, and the fingerprints that tell what a deployment must roll. */

import { createHash } from "node:crypto";
import { canonical } from "../contract/json.ts";
import { MANIFEST_VERSION, type EndpointManifest, type Manifest } from "../contract/manifest.ts";
import { resolveOptions } from "../contract/options.ts";
import type { Bundle } from "./bundle.ts";
import type { CheckedEndpoint } from "./check.ts";
import { compare } from "./diagnostics.ts";
import { withStandardSchemas } from "./standard-schemas.ts";

/** Everything a build knows about one endpoint at its end. */
export interface BuiltEndpoint {
  endpoint: CheckedEndpoint;
  /** Undefined for images. */
  bundle: Bundle | undefined;
  packages: Record<string, string>;
}

export interface ManifestParts {
  app: string;
  version: string;
  runtime: Uint8Array;
  sdk: Uint8Array;
  /** Digest of the files that all endpoints may read; empty when there are none. */
  included: string;
  endpoints: readonly BuiltEndpoint[];
  /** Keeps what did not change from one build to the next. */
  memory?: ManifestMemory;
}

/** By the checked endpoint: as long as that is the same object, only its bundle and its neighbours count. */
export type ManifestMemory = WeakMap<CheckedEndpoint, { key: string; manifest: EndpointManifest }>;

export function assembleManifest(parts: ManifestParts): Manifest {
  const { app, version, runtime, sdk, included, endpoints, memory = new WeakMap() } = parts;
  const runtimeDigest = digest(digest(runtime) + digest(sdk) + included);
  const declared = declaredIn(endpoints);
  const list = endpoints
    .map((built) => {
      const { endpoint, bundle, packages } = built;
      const calls = bundle === undefined ? [] : callsOf(endpoint.name, bundle, declared);
      const key = canonical([bundle?.digest ?? null, packages, calls, runtimeDigest]);
      const known = memory.get(endpoint);
      if (known?.key === key) return known.manifest;
      const manifest = assembleEndpoint(built, calls, runtimeDigest);
      memory.set(endpoint, { key, manifest });
      return manifest;
    })
    .sort((a, b) => compare(a.name, b.name));
  const fingerprint = digest(list.map((one) => one.fingerprint).join("\n"));
  return { version: MANIFEST_VERSION, app, builtWith: version, endpoints: list, fingerprint };
}

function assembleEndpoint(
  { endpoint, bundle, packages }: BuiltEndpoint,
  calls: string[],
  runtimeDigest: string,
): EndpointManifest {
  const { name, form, live, resource, files } = endpoint;
  const kind = endpoint.kind ?? "lb";
  const options = resolveOptions(endpoint.options, kind, name);
  const functions = endpoint.functions.map((one) => withStandardSchemas(one, endpoint.schemas));
  const code = digest(
    canonical([bundle?.digest ?? "", packages, form === "image" ? "" : runtimeDigest]),
  );
  const fingerprint = digest(canonical([name, kind, code, options, functions]));
  return {
    name,
    kind,
    form,
    live,
    resource,
    options,
    functions,
    files,
    ...(bundle === undefined ? {} : { bundle: bundlePath(name) }),
    calls,
    fingerprint,
    code,
    packages,
  };
}

export function bundlePath(name: string): string {
  return `endpoints/${name}/index.mjs`;
}

/** Names of endpoints by the files that declare them. */
function declaredIn(all: readonly BuiltEndpoint[]): Map<string, string[]> {
  const declared = new Map<string, string[]>();
  for (const { endpoint } of all) {
    for (const file of endpoint.files)
      declared.set(file, [...(declared.get(file) ?? []), endpoint.name]);
  }
  return declared;
}

/** Endpoints whose declarations are in the bundle: its code can reach them. */
function callsOf(
  name: string,
  { inputs }: Bundle,
  declared: ReadonlyMap<string, readonly string[]>,
): string[] {
  const names = new Set(inputs.flatMap((file) => declared.get(file) ?? []));
  names.delete(name);
  return [...names].sort(compare);
}

/** Texts of the endpoints of a manifest, as long as these are the same objects. */
export type ManifestTexts = WeakMap<EndpointManifest, Buffer>;

/** The manifest as JSON for people and programs, in one part for each endpoint. */
export function manifestParts(manifest: Manifest, texts: ManifestTexts): Buffer[] {
  const { endpoints } = manifest;
  const frame = JSON.stringify({ ...manifest, endpoints: [null] }, null, 2);
  const [head = "", tail = ""] = frame.split("    null\n");
  const parts = endpoints.map((endpoint, index) => {
    const known = texts.get(endpoint) ?? endpointText(endpoint);
    texts.set(endpoint, known);
    return index === endpoints.length - 1 ? known.subarray(0, -2) : known;
  });
  return [Buffer.from(head), ...parts, Buffer.from(`\n${tail}\n`)];
}

/** Ends with a comma. */
function endpointText(endpoint: EndpointManifest): Buffer {
  const lines = JSON.stringify(endpoint, null, 2).replaceAll("\n", "\n    ");
  return Buffer.from(`    ${lines},\n`);
}

function digest(content: Uint8Array | string): string {
  return createHash("sha256").update(content).digest("hex");
}
