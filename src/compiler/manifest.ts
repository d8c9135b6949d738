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
  endpoints: readonly BuiltEndpoint[];
}

export function assembleManifest({
  app,
  version,
  runtime,
  sdk,
  endpoints,
}: ManifestParts): Manifest {
  const runtimeDigest = digest(digest(runtime) + digest(sdk));
  const list = endpoints
    .map((built) => assembleEndpoint(built, endpoints, runtimeDigest))
    .sort((a, b) => compare(a.name, b.name));
  const fingerprint = digest(list.map((one) => one.fingerprint).join("\n"));
  return { version: MANIFEST_VERSION, app, builtWith: version, endpoints: list, fingerprint };
}

function assembleEndpoint(
  { endpoint, bundle, packages }: BuiltEndpoint,
  all: readonly BuiltEndpoint[],
  runtimeDigest: string,
): EndpointManifest {
  const { name, form, live, resource, files } = endpoint;
  const kind = endpoint.kind ?? "lb";
  const options = resolveOptions(endpoint.options, kind, name);
  const functions = endpoint.functions.map((one) => withStandardSchemas(one, endpoint.schemas));
  const code = bundle === undefined ? "" : digest(bundle.code);
  const fingerprint = digest(
    canonical([
      name,
      kind,
      code,
      options,
      functions,
      packages,
      form === "image" ? "" : runtimeDigest,
    ]),
  );
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
    calls: bundle === undefined ? [] : callsOf(name, bundle, all),
    fingerprint,
    packages,
  };
}

export function bundlePath(name: string): string {
  return `endpoints/${name}/index.mjs`;
}

/** Endpoints whose declarations are in the bundle: its code can reach them. */
function callsOf(name: string, bundle: Bundle, all: readonly BuiltEndpoint[]): string[] {
  const inputs = new Set(bundle.inputs);
  return all
    .filter(({ endpoint }) => endpoint.name !== name)
    .filter(({ endpoint }) => endpoint.files.some((file) => inputs.has(file)))
    .map(({ endpoint }) => endpoint.name)
    .sort(compare);
}

function digest(content: Uint8Array | string): string {
  return createHash("sha256").update(content).digest("hex");
}
