/**
 * A project that is built, and built again: keeps esbuild's contexts, TypeScript's process and every
 * signature whose sources did not change. One build at a time; a second one waits.
 */

import { mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { isAbsolute, join, relative, resolve, sep } from "node:path";
import type { Artifact } from "../contract/cloud.ts";
import { MANIFEST_FILE, SDK_FILE, WORKER_FILE, type Manifest } from "../contract/manifest.ts";
import type { EndpointOptions } from "../contract/options.ts";
import type { WorkerPlatform } from "../contract/platform.ts";
import { thisPlatform } from "../kit/platform.ts";
import { Bundler, bundleSdk, type Bundle } from "./bundle.ts";
import { unitsOf } from "./bundle-units.ts";
import { CandidateScan, unreadableFolders, type Candidates } from "./candidates.ts";
import { checkProject, type CheckedEndpoint } from "./check.ts";
import { dependenciesOf } from "./dependencies.ts";
import { DescribeProcesses } from "./describe.ts";
import { DescribeBuild, sdkUrl } from "./describe-build.ts";
import { Describer, type Described } from "./describer.ts";
import {
  buildFailed,
  errorAt,
  finish,
  type Diagnostic,
  type Finding,
  type Place,
} from "./diagnostics.ts";
import type { FoundEndpoint } from "./endpoints.ts";
import { refuseIgnored } from "./ignored-imports.ts";
import { graphOf } from "./imports.ts";
import { includeFiles, type Included } from "./included.ts";
import {
  assembleManifest,
  bundlePath,
  manifestParts,
  type BuiltEndpoint,
  type ManifestMemory,
  type ManifestTexts,
} from "./manifest.ts";
import { ownPackage, readRuntime, type OwnPackage } from "./own-package.ts";
import { entriesOfFolder, packArtifact, type PackEntry, type PackMemory } from "./pack.ts";
import { installPackages, type Installed } from "./packages.ts";
import { Signatures } from "./signatures.ts";
import { StepClock, type BuildStep } from "./step-clock.ts";
import { findTypeErrors, TypeProgram, type TypeView } from "./types/types.ts";
import { removeWorkFolder, sweepWorkFolders, workFolderIn } from "./work-folder.ts";

export interface BuildRequest {
  /** The project's folder. */
  root: string;
  /** Name of the app, for the manifest. */
  app: string;
  /** Where results and caches go. Default `.flash` in the project. */
  outDir?: string;
  /** Added to this process's environment while the project is evaluated. */
  env?: Record<string, string>;
  /** What `flash.toml` says about the endpoint of that name; applied before the checks. */
  overrides?: (name: string) => Partial<EndpointOptions> | undefined;
  signal?: AbortSignal;
  /** Told when a step begins. */
  onStep?: (step: BuildStep) => void;
  /** Packages that are not installed into the artifact although an endpoint depends on them. */
  exclude?: string[];
  /** Files to ship although no import names them, written as in a .gitignore. Asked in every build. */
  include?: () => readonly string[];
  /** Platform of the workers. Default: this one. */
  platform?: WorkerPlatform;
  /** Platform of live endpoints' workers, when they are elsewhere. Default: `platform`. */
  livePlatform?: WorkerPlatform;
}

export interface BuildResult {
  manifest: Manifest;
  artifact: Artifact;
  artifactFile: string;
  manifestFile: string;
  /** What is in the artifact. */
  entries: readonly PackEntry[];
  /** By endpoint. */
  bundles: ReadonlyMap<string, Bundle>;
  /** How many project files are in the bundles. */
  files: number;
  warnings: Diagnostic[];
  /** Milliseconds by step. */
  timings: Record<string, number>;
}

/** Which files may differ; undefined when any may. */
type Changes = ReadonlySet<string> | undefined;

/** Files whose change may change everything. */
const FAR_REACHING =
  /^\.\.\/|(^|\/)(tsconfig[^/]*\.json|package\.json|package-lock\.json|\.gitignore)$/;

const EXAMPLE = [
  "Declare one and export it:",
  "",
  '  import { Endpoint } from "runpod-flash";',
  "",
  '  export const greet = Endpoint({ name: "greet" }, async (name: string) => ({',
  "    message: `Hello, ${name}!`,",
  "  }));",
].join("\n");

export class Project {
  readonly #request: BuildRequest;
  readonly #own: OwnPackage;
  readonly #root: string;
  readonly #outDir: string;
  readonly #workDir: string;
  readonly #scan: CandidateScan;
  readonly #processes: DescribeProcesses;
  readonly #describer: Describer;
  readonly #bundler: Bundler;
  readonly #types: TypeProgram;
  #sdk: Promise<Uint8Array> | undefined;
  readonly #signatures = new Signatures();
  readonly #manifests: ManifestMemory = new WeakMap();
  readonly #texts: ManifestTexts = new WeakMap();
  readonly #packed: PackMemory = new Map();
  /** Changes since the last build that succeeded: a later step may not have seen them. */
  #pending: { files: Changes; hasSameFiles: boolean } = { files: undefined, hasSameFiles: false };
  /** Changes that the types have not seen: they are asked only when a signature is not known. */
  #unseen = new Set<string>();
  #running: Promise<unknown> = Promise.resolve();
  /** What the last good build saw. */
  #built: Candidates | undefined;
  #isClosed = false;

  /** `own` is where this package's parts lie; only tests give it. */
  constructor(request: BuildRequest, own: OwnPackage = ownPackage()) {
    this.#request = request;
    this.#own = own;
    this.#root = realpathSync(request.root);
    this.#outDir = resolve(request.outDir ?? join(this.#root, ".flash"));
    this.#workDir = workFolderIn(this.#outDir);
    this.#scan = new CandidateScan(this.#root);
    const { env } = request;
    this.#processes = new DescribeProcesses(this.#root, { sdk: sdkUrl(own), env });
    const outDir = join(this.#workDir, "describe");
    this.#describer = new Describer({
      root: this.#root,
      outDir,
      own,
      build: new DescribeBuild(this.#root, outDir, own),
      processes: this.#processes,
    });
    this.#bundler = new Bundler(this.#root);
    this.#types = new TypeProgram({
      root: this.#root,
      configDir: join(this.#workDir, "types"),
      own,
    });
  }

  /** Builds everything. Throws `BUILD_FAILED` with every mistake found, in `details.diagnostics`. */
  build(): Promise<BuildResult> {
    return this.#queue(() => this.#build(undefined));
  }

  /** Builds again after these files (absolute, or relative to the project) changed. */
  rebuild(changedFiles: readonly string[]): Promise<BuildResult> {
    const changed = new Set(changedFiles.map((file) => this.#relative(file)));
    const isFarReaching = [...changed].some((file) => FAR_REACHING.test(file));
    return this.#queue(() => this.#build(isFarReaching ? undefined : changed));
  }

  /**
   * What TypeScript has against the files that the last good build began with and all they import, as
   * the project's tsconfig.json wants them checked. Undefined when they are not: no tsconfig.json,
   * one that means none of them or that TypeScript refuses, no build yet, or `signal`.
   */
  async typeErrors(signal: AbortSignal): Promise<Diagnostic[] | undefined> {
    const files = this.#built;
    if (files === undefined || this.#isClosed || signal.aborted) return undefined;
    const config = this.#types.writeCheckConfig(this.#typeRoots(files));
    if (config === undefined) return undefined;
    return findTypeErrors({ root: this.#root, config, signal });
  }

  /** The project's folder may be given through a link, and changes in it as well. */
  #relative(file: string): string {
    const given = resolve(this.#request.root);
    const isBelow = file.startsWith(given + sep);
    const path = isAbsolute(file) ? relative(isBelow ? given : this.#root, file) : file;
    return path.split(sep).join("/");
  }

  /** Ends the processes that builds keep. Repeatable. */
  async close(): Promise<void> {
    await this.#running.catch(() => undefined);
    this.#isClosed = true;
    this.#processes.close();
    this.#types.close();
    removeWorkFolder(this.#workDir);
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#running.catch(() => undefined).then(work);
    this.#running = result;
    return result;
  }

  async #build(changes: Changes): Promise<BuildResult> {
    const clock = new StepClock(this.#request.onStep);
    this.#prepare(changes);
    const scan = clock.time("scan", () => this.#scan.scan(this.#types.pathPatterns(), changes));
    this.#remember(changes, scan);
    this.#throwIfAborted();
    const described = await clock.wait("describe", () => this.#describe(scan));
    const { found, inputs } = described;
    const findings = [...unreadableFolders(scan), ...described.findings, ...found.findings];
    findings.push(...refuseIgnored(this.#root, inputs));
    const endpoints = clock.time("types", () => this.#addTypes(found.endpoints, scan, findings));
    const refusedIn = new Set(found.findings.flatMap(({ file }) => file ?? []));
    clock.time("check", () => findings.push(...checkProject(endpoints, refusedIn)));
    if (endpoints.length === 0 && !findings.some(isError)) {
      findings.push(errorAt(undefined, "No endpoints found.", EXAMPLE));
    }
    this.#throwOnErrors(findings);
    const bundles = await clock.wait("bundle", () => this.#bundle(endpoints, described));
    findings.push(...bundles.findings);
    this.#throwOnErrors(findings);
    const installed = await clock.wait("packages", () => this.#install(endpoints, bundles.bundles));
    const patterns = this.#request.include?.() ?? [];
    const included = includeFiles(this.#root, scan.files, patterns);
    findings.push(...included.findings);
    this.#throwOnErrors(findings);
    const parts = { endpoints, bundles: bundles.bundles, installed, included };
    const result = await clock.wait("pack", () => this.#pack(parts));
    this.#pending = { files: new Set(), hasSameFiles: true };
    this.#built = scan;
    // Who builds again after a change will do so once more.
    if (changes !== undefined) setImmediate(() => this.#prepareProcess());
    const shipped = new Set([...bundles.bundles.values()].flatMap((bundle) => bundle.inputs));
    const files = [...shipped].filter((file) => scan.sources.has(file)).length;
    return { ...result, files, warnings: finish(this.#root, findings), timings: clock.done() };
  }

  #prepare(changes: Changes): void {
    mkdirSync(this.#outDir, { recursive: true });
    sweepWorkFolders(this.#outDir);
    // Whatever the project's own .gitignore says, a build's results are not sources.
    writeFileSync(join(this.#outDir, ".gitignore"), "*\n");
    if (changes === undefined) {
      this.#signatures.clear();
      this.#unseen = new Set();
      this.#types.close();
    } else for (const file of changes) this.#unseen.add(join(this.#root, file));
  }

  #prepareProcess(): void {
    if (!this.#isClosed) this.#processes.prepare();
  }

  #remember(changes: Changes, { hasSameFiles }: Candidates): void {
    const { files } = this.#pending;
    this.#pending = {
      files: changes && files && new Set([...files, ...changes]),
      hasSameFiles: this.#pending.hasSameFiles && hasSameFiles,
    };
  }

  /** What may differ for steps to which a file more or less may mean anything. */
  get #edited(): Changes {
    return this.#pending.hasSameFiles ? this.#pending.files : undefined;
  }

  #describe(scan: Candidates): Promise<Described> {
    const { signal, overrides } = this.#request;
    const importPlace = (file: string, name: string): Place | undefined =>
      this.#scan.importPlace(scan, file, name);
    return this.#describer.describe({
      scan,
      changed: this.#edited,
      signal,
      overrides,
      importPlace,
    });
  }

  #addTypes(
    endpoints: readonly FoundEndpoint[],
    candidates: Candidates,
    findings: Finding[],
  ): CheckedEndpoint[] {
    const openTypes = (): TypeView => this.#openTypes(candidates);
    const { files: changed } = this.#pending;
    const sources = { root: this.#root, scan: this.#scan, candidates, changed, openTypes };
    return this.#signatures.describe(endpoints, sources, findings);
  }

  /** Absolute paths of the files from which types are looked at. */
  #typeRoots({ files, candidates }: Candidates): string[] {
    const ambient = files.filter((file) => /\.d\.[cm]?ts$/.test(file));
    return [...candidates, ...ambient].map((file) => join(this.#root, file));
  }

  #openTypes(scan: Candidates): TypeView {
    const view = this.#types.view(this.#typeRoots(scan), this.#unseen);
    this.#unseen = new Set();
    return view;
  }

  async #bundle(
    endpoints: readonly CheckedEndpoint[],
    { inputs, found: { derivedNames } }: Described,
  ): ReturnType<Bundler["run"]> {
    this.#throwIfAborted();
    const deployed = endpoints.filter(({ form }) => form !== "image");
    return this.#bundler.run(unitsOf(deployed, graphOf(inputs), derivedNames), this.#edited);
  }

  async #install(
    endpoints: readonly CheckedEndpoint[],
    bundles: ReadonlyMap<string, Bundle>,
  ): Promise<Map<string, Installed>> {
    const installed = new Map<string, Installed>();
    const { signal, platform: own = thisPlatform(), livePlatform = own } = this.#request;
    const { exclude = [] } = this.#request;
    const cacheDir = join(this.#outDir, "packages");
    const all = endpoints.filter(({ options }) => (options.dependencies ?? []).length > 0);
    for (const endpoint of all.length === 0 ? [] : endpoints) {
      const bundle = bundles.get(endpoint.name);
      if (bundle === undefined) continue;
      const dependencies = dependenciesOf(endpoint, bundle, { all, exclude });
      if (dependencies.length === 0) continue;
      const platform = endpoint.live ? livePlatform : own;
      installed.set(
        endpoint.name,
        await installPackages({ root: this.#root, cacheDir, dependencies, platform, signal }),
      );
    }
    return installed;
  }

  async #pack(parts: {
    endpoints: readonly CheckedEndpoint[];
    bundles: ReadonlyMap<string, Bundle>;
    installed: ReadonlyMap<string, Installed>;
    included: Included;
  }): Promise<Omit<BuildResult, "files" | "warnings" | "timings">> {
    const { endpoints, bundles, installed, included } = parts;
    const runtime = readRuntime(this.#own);
    const sdk = await (this.#sdk ??= bundleSdk(this.#own));
    const built = endpoints.map((endpoint): BuiltEndpoint => ({
      endpoint,
      bundle: bundles.get(endpoint.name),
      packages: installed.get(endpoint.name)?.packages ?? {},
    }));
    const { version } = this.#own;
    const manifest = assembleManifest({
      app: this.#request.app,
      version,
      runtime,
      sdk,
      included: included.digest,
      endpoints: built,
      memory: this.#manifests,
    });
    const texts = manifestParts(manifest, this.#texts);
    const text = Buffer.concat(texts);
    const entries: PackEntry[] = [
      { path: MANIFEST_FILE, content: text, parts: texts },
      { path: WORKER_FILE, content: runtime },
      { path: SDK_FILE, content: sdk },
      ...included.entries,
    ];
    for (const { endpoint, bundle } of built) {
      if (bundle === undefined) continue;
      const path = bundlePath(endpoint.name);
      entries.push({ path, content: bundle.code }, { path: `${path}.map`, content: bundle.map });
      for (const asset of bundle.assets) {
        entries.push({ path: `endpoints/${endpoint.name}/${asset.path}`, content: asset.content });
      }
      const packages = installed.get(endpoint.name);
      if (packages === undefined) continue;
      entries.push(...entriesOfFolder(packages.folder, `endpoints/${endpoint.name}/node_modules`));
    }
    const artifactFile = join(this.#outDir, "artifact.tar.gz");
    const manifestFile = join(this.#outDir, MANIFEST_FILE);
    const { signal } = this.#request;
    const packed = await packArtifact(artifactFile, entries, { signal, memory: this.#packed });
    await writeFile(manifestFile, text);
    const artifact = { ...packed, manifest };
    return { manifest, artifact, artifactFile, manifestFile, entries, bundles };
  }

  #throwOnErrors(findings: readonly Finding[]): void {
    this.#throwIfAborted();
    if (findings.some(isError)) throw buildFailed(finish(this.#root, findings));
  }

  #throwIfAborted(): void {
    this.#request.signal?.throwIfAborted();
  }
}

function isError({ severity }: Finding): boolean {
  return severity === "error";
}
