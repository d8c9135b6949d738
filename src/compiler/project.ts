/**
 * A project that is built, and built again: keeps esbuild's contexts, TypeScript's process and every
 * signature whose sources did not change. One build at a time; a second one waits.
 */

import { createHash } from "node:crypto";
import { mkdirSync, realpathSync, writeFileSync } from "node:fs";
import { isAbsolute, join, relative, sep } from "node:path";
import type { Artifact } from "../contract/cloud.ts";
import {
  MANIFEST_FILE,
  SDK_FILE,
  WORKER_FILE,
  type FunctionManifest,
  type Manifest,
} from "../contract/manifest.ts";
import type { EndpointOptions } from "../contract/options.ts";
import { Bundler, bundleSdk, type Bundle, type BundleUnit } from "./bundle.ts";
import { CandidateScan, type Candidates } from "./candidates.ts";
import { checkProject, type CheckedEndpoint } from "./check.ts";
import { describeFiles } from "./describe.ts";
import { DescribeBuild, type DescribeOutput } from "./describe-build.ts";
import {
  buildFailed,
  compare,
  errorAt,
  finish,
  type Diagnostic,
  type Finding,
  type Place,
} from "./diagnostics.ts";
import {
  collectEndpoints,
  type DerivedName,
  type FoundEndpoint,
  type FoundProject,
} from "./endpoints.ts";
import { IgnoreRules } from "./ignore-rules.ts";
import { importClosure } from "./imports.ts";
import { assembleManifest, bundlePath, type BuiltEndpoint } from "./manifest.ts";
import { ownPackage, readRuntime, type OwnPackage } from "./own-package.ts";
import { entriesOfFolder, packArtifact, type PackEntry } from "./pack.ts";
import {
  installPackages,
  parseDependency,
  WORKER_PLATFORM,
  type Installed,
  type PackagePlatform,
} from "./packages.ts";
import { StackMapper } from "./stack.ts";
import {
  describeHandler,
  TypeProgram,
  type DescribedHandler,
  type HandlerRequest,
  type TypeView,
} from "./types/types.ts";

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
  /** Packages that are not installed into the artifact although an endpoint depends on them. */
  exclude?: string[];
  /** Platform of the workers. Default Linux on x64 with glibc. */
  platform?: PackagePlatform;
}

export interface BuildResult {
  manifest: Manifest;
  artifact: Artifact;
  artifactFile: string;
  manifestFile: string;
  /** How many project files are in the bundles. */
  files: number;
  warnings: Diagnostic[];
  /** Milliseconds by step. */
  timings: Record<string, number>;
}

/** Which files may differ from the last build; undefined when any may. */
type Changes = ReadonlySet<string> | undefined;

/** Files whose change may change everything. */
const FAR_REACHING = /(^|\/)(tsconfig[^/]*\.json|package\.json|package-lock\.json|\.gitignore)$/;

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
  readonly #scan: CandidateScan;
  readonly #describeBuild: DescribeBuild;
  readonly #bundler: Bundler;
  readonly #types: TypeProgram;
  #sdk: Promise<Uint8Array> | undefined;
  #signatures = new Map<string, DescribedHandler>();
  /** Changes that the types have not seen: they are asked only when a signature is not known. */
  #unseen = new Set<string>();
  #running: Promise<unknown> = Promise.resolve();

  /** `own` is where this package's parts lie; only tests give it. */
  constructor(request: BuildRequest, own: OwnPackage = ownPackage()) {
    this.#request = request;
    this.#own = own;
    this.#root = realpathSync(request.root);
    this.#outDir = request.outDir ?? join(this.#root, ".flash");
    const describeDir = join(this.#outDir, "describe");
    this.#scan = new CandidateScan(this.#root);
    this.#describeBuild = new DescribeBuild(this.#root, describeDir, own);
    this.#bundler = new Bundler(this.#root);
    this.#types = new TypeProgram({
      root: this.#root,
      configDir: join(this.#outDir, "types"),
      own,
    });
  }

  /** Builds everything. Throws `BUILD_FAILED` with every mistake found, in `details.diagnostics`. */
  build(): Promise<BuildResult> {
    return this.#queue(() => this.#build(undefined));
  }

  /** Builds again after these files (absolute, or relative to the project) changed. */
  rebuild(changedFiles: readonly string[]): Promise<BuildResult> {
    const changed = new Set(
      changedFiles.map((file) => {
        const path = isAbsolute(file) ? relative(this.#root, file) : file;
        return path.split(sep).join("/");
      }),
    );
    const isFarReaching = [...changed].some((file) => FAR_REACHING.test(file));
    return this.#queue(() => this.#build(isFarReaching ? undefined : changed));
  }

  /** Ends the processes that builds keep. Repeatable. */
  async close(): Promise<void> {
    await this.#running.catch(() => undefined);
    await Promise.all([this.#describeBuild.close(), this.#bundler.close()]);
    this.#types.close();
  }

  #queue<T>(work: () => Promise<T>): Promise<T> {
    const result = this.#running.catch(() => undefined).then(work);
    this.#running = result;
    return result;
  }

  async #build(changes: Changes): Promise<BuildResult> {
    const clock = new StepClock();
    this.#prepare(changes);
    const scan = clock.time("scan", () => this.#scan.scan(this.#types.pathPatterns(), changes));
    this.#throwIfAborted();
    const { found, output } = await clock.wait("describe", this.#describe(scan));
    const findings = [...scan.warnings, ...output.findings, ...found.findings];
    findings.push(...refuseIgnored(this.#root, output));
    const endpoints = clock.time("types", () => this.#addTypes(found.endpoints, scan, findings));
    const refusedIn = new Set(found.findings.flatMap(({ file }) => file ?? []));
    clock.time("check", () => findings.push(...checkProject(endpoints, refusedIn)));
    if (endpoints.length === 0 && !findings.some(isError)) {
      findings.push(errorAt(undefined, "No endpoints found.", EXAMPLE));
    }
    this.#throwOnErrors(findings);
    const bundles = await clock.wait("bundle", this.#bundle(endpoints, found.derivedNames, output));
    findings.push(...bundles.findings);
    this.#throwOnErrors(findings);
    const installed = await clock.wait("packages", this.#install(endpoints, bundles.bundles));
    const parts = { endpoints, bundles: bundles.bundles, installed };
    const result = await clock.wait("pack", this.#pack(parts));
    const shipped = new Set([...bundles.bundles.values()].flatMap(({ inputs }) => inputs));
    const files = [...shipped].filter((file) => scan.sources.has(file)).length;
    return { ...result, files, warnings: finish(this.#root, findings), timings: clock.done() };
  }

  #prepare(changes: Changes): void {
    mkdirSync(this.#outDir, { recursive: true });
    // Whatever the project's own .gitignore says, a build's results are not sources.
    writeFileSync(join(this.#outDir, ".gitignore"), "*\n");
    if (changes === undefined) {
      this.#signatures = new Map();
      this.#unseen = new Set();
      this.#types.close();
    } else for (const file of changes) this.#unseen.add(join(this.#root, file));
  }

  async #describe(scan: Candidates): Promise<{ found: FoundProject; output: DescribeOutput }> {
    const { env, signal, overrides } = this.#request;
    const output = await this.#describeBuild.run(scan.candidates, scan.graph);
    this.#throwIfAborted();
    if (output.files.length === 0) {
      return { output, found: { endpoints: [], derivedNames: [], findings: [] } };
    }
    const report = await describeFiles({ root: this.#root, files: output.files, env, signal });
    const mapper = new StackMapper(this.#root, join(this.#outDir, "describe"));
    const importPlace = (file: string, name: string): Place | undefined =>
      this.#scan.importPlace(scan, file, name);
    return { output, found: collectEndpoints(report, { mapper, overrides, importPlace }) };
  }

  #addTypes(
    endpoints: readonly FoundEndpoint[],
    scan: Candidates,
    findings: Finding[],
  ): CheckedEndpoint[] {
    const closures = new Closures(this.#scan, scan);
    let view: TypeView | undefined;
    const describe = (request: HandlerRequest): FunctionManifest[] => {
      const key = closures.keyOf(request);
      let described = this.#signatures.get(key);
      if (described === undefined) {
        view ??= this.#openTypes(scan);
        described = describeHandler(view, this.#root, request);
        this.#signatures.set(key, described);
      }
      findings.push(...described.findings);
      return described.functions;
    };
    return endpoints.map((endpoint) => ({
      ...endpoint,
      functions: functionsOf(endpoint, describe),
    }));
  }

  #openTypes({ files, candidates }: Candidates): TypeView {
    const ambient = files.filter((file) => /\.d\.[cm]?ts$/.test(file));
    const roots = [...candidates, ...ambient].map((file) => join(this.#root, file));
    const view = this.#types.view(roots, this.#unseen);
    this.#unseen = new Set();
    return view;
  }

  async #bundle(
    endpoints: readonly CheckedEndpoint[],
    derivedNames: readonly DerivedName[],
    { inputs }: DescribeOutput,
  ): ReturnType<Bundler["run"]> {
    this.#throwIfAborted();
    const graph = new Map(
      Object.entries(inputs).map(([file, { imports }]) => [file, imports.map(({ path }) => path)]),
    );
    const deployed = endpoints.filter(({ form }) => form !== "image");
    const units = deployed.map(({ name, files }): BundleUnit => {
      const reached = new Set(files.flatMap((file) => importClosure(file, graph)));
      // Code of other endpoints comes along, and so do their outside packages.
      const inside = deployed.filter((other) => other.files.some((file) => reached.has(file)));
      return {
        endpoint: name,
        files,
        externals: dependencyNames(inside),
        exports: derivedNames.filter(({ file }) => reached.has(file)),
      };
    });
    return this.#bundler.run(units);
  }

  async #install(
    endpoints: readonly CheckedEndpoint[],
    bundles: ReadonlyMap<string, Bundle>,
  ): Promise<Map<string, Installed>> {
    const installed = new Map<string, Installed>();
    for (const endpoint of endpoints) {
      const bundle = bundles.get(endpoint.name);
      if (bundle === undefined) continue;
      const dependencies = this.#dependenciesOf(endpoint, bundle, endpoints);
      if (dependencies.length === 0) continue;
      const { signal, platform = WORKER_PLATFORM } = this.#request;
      const cacheDir = join(this.#outDir, "packages");
      installed.set(
        endpoint.name,
        await installPackages({ root: this.#root, cacheDir, dependencies, platform, signal }),
      );
    }
    return installed;
  }

  /**
   * What an endpoint lists, and what other endpoints in its bundle list and import at the top of a
   * file: without it the bundle could not be loaded.
   */
  #dependenciesOf(
    { options }: CheckedEndpoint,
    bundle: Bundle,
    endpoints: readonly CheckedEndpoint[],
  ): string[] {
    const own = options.dependencies ?? [];
    const taken = new Set([...own.map(nameOfDependency), ...(this.#request.exclude ?? [])]);
    const foreign = endpoints
      .flatMap((endpoint) => endpoint.options.dependencies ?? [])
      .filter((dependency) => {
        const name = nameOfDependency(dependency);
        if (taken.has(name) || !bundle.loads.includes(name)) return false;
        taken.add(name);
        return true;
      });
    const excluded = new Set(this.#request.exclude);
    return [...own.filter((one) => !excluded.has(nameOfDependency(one))), ...foreign];
  }

  async #pack(parts: {
    endpoints: readonly CheckedEndpoint[];
    bundles: ReadonlyMap<string, Bundle>;
    installed: ReadonlyMap<string, Installed>;
  }): Promise<Pick<BuildResult, "manifest" | "artifact" | "artifactFile" | "manifestFile">> {
    const { endpoints, bundles, installed } = parts;
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
      endpoints: built,
    });
    const text = Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`);
    const entries: PackEntry[] = [
      { path: MANIFEST_FILE, content: text },
      { path: WORKER_FILE, content: runtime },
      { path: SDK_FILE, content: sdk },
    ];
    for (const { endpoint, bundle } of built) {
      if (bundle === undefined) continue;
      const path = bundlePath(endpoint.name);
      entries.push({ path, content: bundle.code }, { path: `${path}.map`, content: bundle.map });
      const packages = installed.get(endpoint.name);
      if (packages === undefined) continue;
      entries.push(...entriesOfFolder(packages.folder, `endpoints/${endpoint.name}/node_modules`));
    }
    const artifactFile = join(this.#outDir, "artifact.tar.gz");
    const manifestFile = join(this.#outDir, MANIFEST_FILE);
    const { signal } = this.#request;
    const packed = await packArtifact(
      artifactFile,
      entries,
      signal === undefined ? {} : { signal },
    );
    writeFileSync(manifestFile, text);
    return { manifest, artifact: { ...packed, manifest }, artifactFile, manifestFile };
  }

  #throwOnErrors(findings: readonly Finding[]): void {
    this.#throwIfAborted();
    if (findings.some(isError)) throw buildFailed(finish(this.#root, findings));
  }

  #throwIfAborted(): void {
    this.#request.signal?.throwIfAborted();
  }
}

/** Everything that a signature can depend on inside the project, as one key. */
class Closures {
  readonly #scan: CandidateScan;
  readonly #candidates: Candidates;
  readonly #keys = new Map<string, string>();
  readonly #ambient: string;

  constructor(scan: CandidateScan, candidates: Candidates) {
    this.#scan = scan;
    this.#candidates = candidates;
    this.#ambient = candidates.files.filter((file) => /\.d\.[cm]?ts$/.test(file)).join("\n");
  }

  keyOf(request: HandlerRequest): string {
    const files = [...new Set(request.places.map(({ file }) => file))];
    return JSON.stringify([request, files.map((file) => this.#fileKey(file)), this.#ambient]);
  }

  /** Type-only imports are in the graph as well: it is made from the text. */
  #fileKey(file: string): string {
    const known = this.#keys.get(file);
    if (known !== undefined) return known;
    const hash = createHash("sha256");
    for (const one of importClosure(file, this.#candidates.graph)) {
      hash.update(`${one}\0${this.#scan.text(one) ?? ""}\0`);
    }
    const key = hash.digest("hex");
    this.#keys.set(file, key);
    return key;
  }
}

function functionsOf(
  endpoint: FoundEndpoint,
  describe: (request: HandlerRequest) => FunctionManifest[],
): FunctionManifest[] {
  const { form, functionName, methods, targetPlaces, routes } = endpoint;
  if (form === "image") return [];
  if (form === "routes") {
    return routes.flatMap(({ method, path, places, functionName: name }) => {
      const request = { places, kind: "lb", form: "function", name, methods: [] } as const;
      const [one] = describe(request);
      return one === undefined ? [] : [{ ...one, route: { method, path } }];
    });
  }
  return describe({ places: targetPlaces, kind: "qb", form, name: functionName, methods });
}

function dependencyNames(endpoints: readonly CheckedEndpoint[]): string[] {
  const all = endpoints.flatMap(({ options }) => options.dependencies ?? []);
  return [...new Set(all.map(nameOfDependency))].sort(compare);
}

function nameOfDependency(dependency: string): string {
  return parseDependency(dependency).name;
}

/** Source: spec/build.md 13. */
function refuseIgnored(root: string, { inputs }: DescribeOutput): Finding[] {
  const rules = new IgnoreRules(root);
  const ignored = Object.keys(inputs)
    .filter(
      (file) => !file.startsWith("../") && !file.includes("node_modules/") && !file.includes(":"),
    )
    .filter((file) => rules.ignores(file))
    .sort();
  if (ignored.length === 0) return [];
  const importers = new Map<string, string>();
  for (const [importer, { imports }] of Object.entries(inputs)) {
    for (const { path } of imports) if (!importers.has(path)) importers.set(path, importer);
  }
  const lines = ignored.map(
    (file) => `  ${file} (imported by ${importers.get(file) ?? "the build"})`,
  );
  const place: Place | undefined = undefined;
  return [
    errorAt(
      place,
      [
        "Shipped code imports local modules that the build ignore rules (.gitignore or built-in defaults) exclude:",
        ...lines,
        "",
        "Shipping them would silently override a deliberate exclusion, and omitting them would break the worker with ModuleNotFoundError. Remove the matching ignore pattern or stop importing these modules from shipped code.",
      ].join("\n"),
    ),
  ];
}

function isError({ severity }: Finding): boolean {
  return severity === "error";
}

/** How long each step took. */
class StepClock {
  readonly #start = performance.now();
  readonly #timings: Record<string, number> = {};

  time<T>(step: string, work: () => T): T {
    const start = performance.now();
    const result = work();
    this.#timings[step] = performance.now() - start;
    return result;
  }

  async wait<T>(step: string, work: Promise<T>): Promise<T> {
    const start = performance.now();
    const result = await work;
    this.#timings[step] = performance.now() - start;
    return result;
  }

  done(): Record<string, number> {
    this.#timings.total = performance.now() - this.#start;
    return this.#timings;
  }
}
