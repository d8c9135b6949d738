/**
 * A build for `flash run --remote`: an artifact with the live worker's program, options and packages but
 * no code, and each live endpoint's code by itself, to be sent with calls. So an edit of the code deploys
 * nothing; only other options or packages do.
 */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { Artifact } from "../contract/cloud.ts";
import { canonical } from "../contract/json.ts";
import { LIMITS } from "../contract/limits.ts";
import {
  BUNDLE_ENTRY,
  BUNDLE_MAP,
  EXECUTE_PATH,
  bundleBytes,
  bundleTooLarge,
  type LiveBundle,
} from "../contract/live.ts";
import {
  MANIFEST_FILE,
  SDK_FILE,
  WORKER_FILE,
  type EndpointManifest,
  type FunctionManifest,
  type Manifest,
} from "../contract/manifest.ts";
import { ownPackage, readRuntime } from "./own-package.ts";
import { packArtifact, type PackEntry } from "./pack.ts";
import type { BuildResult } from "./project.ts";

export interface LiveBuild {
  /** Equal fingerprints need no other deployment. */
  manifest: Manifest;
  /** By endpoint. */
  bundles: ReadonlyMap<string, Required<LiveBundle>>;
  /** Writes the artifact. */
  pack: (file: string, options?: { signal?: AbortSignal }) => Promise<Artifact>;
}

/** The one function of a live worker. */
const EXECUTE: FunctionManifest = {
  name: "execute",
  route: { method: "POST", path: EXECUTE_PATH },
  parameters: [{ name: "request", schema: {}, required: true, carrier: "request" }],
  streams: false,
  checked: true,
};

/**
 * What live workers of a build need; undefined when it has no live endpoint. Throws `PAYLOAD_TOO_LARGE`
 * for an endpoint whose code is over the limit of live execution.
 */
export function liveBuild(
  { manifest, entries }: Pick<BuildResult, "manifest" | "entries">,
  app: string,
): LiveBuild | undefined {
  const live = manifest.endpoints.filter((one) => one.live && one.bundle !== undefined);
  if (live.length === 0) return undefined;
  const byPath = new Map(entries.map((entry) => [entry.path, entry]));
  const sdk = contentOf(byPath.get(SDK_FILE));
  const runtime = readLiveRuntime();
  const runtimeDigest = digest(digest(runtime) + digest(sdk));
  const endpoints = live.map((endpoint) => liveEndpoint(endpoint, runtimeDigest));
  const fingerprint = digest(endpoints.map((one) => one.fingerprint).join("\n"));
  const whole: Manifest = { ...manifest, app, endpoints, fingerprint };
  const packages = entries.filter(({ path }) =>
    live.some((one) => path.startsWith(packagesOf(one))),
  );
  return {
    manifest: whole,
    bundles: new Map(live.map((endpoint) => [endpoint.name, bundleOf(endpoint, byPath)])),
    pack: async (file, options = {}) => {
      const text = Buffer.from(`${JSON.stringify(whole, null, 2)}\n`);
      const own: PackEntry[] = [
        { path: MANIFEST_FILE, content: text },
        { path: WORKER_FILE, content: runtime },
        { path: SDK_FILE, content: sdk },
      ];
      const packed = await packArtifact(file, [...own, ...packages], options);
      return { ...packed, manifest: whole };
    },
  };
}

/** Requests of one live worker: those that wait in it as well. */
const LIVE_CONCURRENCY = 1000;

/** As the server runs it: a load-balanced endpoint with the options that the code gave it. */
function liveEndpoint(endpoint: EndpointManifest, runtimeDigest: string): EndpointManifest {
  const { name, kind, resource, packages, bundle = "" } = endpoint;
  const { options: declared } = endpoint;
  const options: EndpointManifest["options"] = {
    ...declared,
    scalerType: "REQUEST_COUNT",
    // A queue worker has its number of jobs at once, whoever brings them.
    scalerValue: kind === "qb" ? declared.maxConcurrency : declared.scalerValue,
    // Beyond its jobs a live worker takes bundles; it keeps to the number of jobs itself.
    maxConcurrency: LIVE_CONCURRENCY,
    // The caller's worker minds the time; booting ahead is for programs that have code.
    executionTimeoutMs: 0,
    flashboot: false,
  };
  const fingerprint = digest(canonical([name, kind, options, packages, runtimeDigest]));
  return {
    name,
    kind: "lb",
    form: "routes",
    live: true,
    executes: kind,
    resource,
    options,
    functions: [EXECUTE],
    files: [],
    // Where the code it is sent finds its packages.
    bundle,
    calls: [],
    fingerprint,
    packages,
  };
}

function bundleOf(
  { bundle = "" }: EndpointManifest,
  texts: ReadonlyMap<string, PackEntry>,
): Required<LiveBundle> {
  const code = textOf(texts.get(bundle));
  const map = textOf(texts.get(`${bundle}.map`));
  const bare = { [BUNDLE_ENTRY]: code };
  const bytes = bundleBytes(bare);
  if (bytes > LIMITS.liveBundleBytes) throw bundleTooLarge(bytes);
  // Positions in the sources are a comfort, for which there has to be room.
  const full = { ...bare, [BUNDLE_MAP]: map };
  const modules = bundleBytes(full) > LIMITS.liveBundleBytes ? bare : full;
  return { digest: digest(canonical(modules)), modules };
}

function packagesOf({ name }: EndpointManifest): string {
  return `endpoints/${name}/node_modules/`;
}

function readLiveRuntime(): Buffer {
  const own = ownPackage();
  return readRuntime({ ...own, runtime: join(dirname(own.runtime), "live.mjs") });
}

function contentOf(entry: PackEntry | undefined): Uint8Array {
  if (entry === undefined) return new Uint8Array();
  const { content } = entry;
  if (content instanceof Uint8Array) return content;
  return "file" in content ? readFileSync(content.file) : Buffer.concat(content);
}

function textOf(entry: PackEntry | undefined): string {
  return new TextDecoder().decode(contentOf(entry));
}

function digest(content: Uint8Array | string): string {
  return createHash("sha256").update(content).digest("hex");
}
