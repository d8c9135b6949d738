/** The signatures of a project's functions, kept as long as the sources they depend on stay the same. */

import { createHash } from "node:crypto";
import type { FunctionManifest } from "../contract/manifest.ts";
import type { Candidates, CandidateScan } from "./candidates.ts";
import type { CheckedEndpoint } from "./check.ts";
import type { Finding } from "./diagnostics.ts";
import type { FoundEndpoint } from "./endpoints.ts";
import { importClosure } from "./imports.ts";
import {
  describeHandler,
  type DescribedHandler,
  type HandlerRequest,
  type TypeView,
} from "./types/types.ts";

export interface SignatureSources {
  root: string;
  scan: CandidateScan;
  candidates: Candidates;
  /** Which files may differ from the last call; undefined for all. */
  changed: ReadonlySet<string> | undefined;
  /** Asked only when a signature is not known. */
  openTypes: () => TypeView;
}

/** Files besides code that types may come from. A global declaration may change any type. */
const TYPES_ELSEWHERE = /\.d\.[cm]?ts$|\.json$|^\.\.\//;
/** How many signatures are remembered for each that is in use. */
const MANY_TIMES = 8;
const GLOBAL = /\bdeclare\s+(?:global|module)\b/;

export class Signatures {
  readonly #known = new Map<string, DescribedHandler>();
  #checked = new WeakMap<FoundEndpoint, { endpoint: CheckedEndpoint; findings: Finding[] }>();
  #graph: Candidates["graph"] = new Map();
  /** Files that declare, or did at the last call, what all others see. */
  #global: ReadonlySet<string> = new Set();

  /** Forgets everything: something beyond the project's sources may have changed. */
  clear(): void {
    this.#known.clear();
    this.#checked = new WeakMap();
  }

  /** Adds its functions to each endpoint; what is wrong with them goes to `findings`. */
  describe(
    endpoints: readonly FoundEndpoint[],
    sources: SignatureSources,
    findings: Finding[],
  ): CheckedEndpoint[] {
    const { root, scan, candidates, openTypes } = sources;
    const touched = this.#touched(sources);
    if (touched === undefined) this.clear();
    this.#graph = candidates.graph;
    const closures = new Closures(scan, candidates);
    let view: TypeView | undefined;
    // Every save of a long day leaves some behind.
    if (this.#known.size > MANY_TIMES * (endpoints.length + 1)) this.#known.clear();
    const describe = (request: HandlerRequest): DescribedHandler => {
      const key = closures.keyOf(request);
      let described = this.#known.get(key);
      if (described === undefined) {
        view ??= openTypes();
        described = describeHandler(view, root, request);
        this.#known.set(key, described);
      }
      return described;
    };
    return endpoints.map((found) => {
      let known = this.#checked.get(found);
      if (known === undefined || placesOf(found).some((file) => touched?.has(file) === true)) {
        const { findings: own, ...described } = describeEndpoint(found, describe);
        known = { endpoint: Object.assign(described, found), findings: own };
        this.#checked.set(found, known);
      }
      findings.push(...known.findings);
      return known.endpoint;
    });
  }

  /** The changed files and all that import them, now or before; undefined when it may be any file. */
  #touched({ candidates, scan, changed }: SignatureSources): ReadonlySet<string> | undefined {
    const before = this.#global;
    const all = [...candidates.sources.keys()];
    this.#global = new Set(all.filter((file) => GLOBAL.test(scan.text(file) ?? "")));
    if (changed === undefined) return undefined;
    const isGlobal = (file: string): boolean => before.has(file) || this.#global.has(file);
    if ([...changed].some((file) => TYPES_ELSEWHERE.test(file) || isGlobal(file))) return undefined;
    const importers = new Map<string, string[]>();
    for (const graph of [this.#graph, candidates.graph]) {
      for (const [importer, targets] of graph) {
        for (const target of targets) {
          const known = importers.get(target);
          if (known === undefined) importers.set(target, [importer]);
          else known.push(importer);
        }
      }
    }
    const touched = new Set(changed);
    for (const file of touched) for (const next of importers.get(file) ?? []) touched.add(next);
    return touched;
  }
}

/** Where the declaring calls of an endpoint stand. */
function placesOf({ targetPlaces, routes }: FoundEndpoint): string[] {
  return [targetPlaces, ...routes.map(({ places }) => places)].flat().map(({ file }) => file);
}

type DescribedEndpoint = DescribedHandler & { functions: FunctionManifest[] };

function describeEndpoint(
  endpoint: FoundEndpoint,
  describe: (request: HandlerRequest) => DescribedHandler,
): DescribedEndpoint {
  const { form, functionName, methods, targetPlaces, routes } = endpoint;
  const all: DescribedEndpoint = { functions: [], isSynchronous: false, findings: [] };
  if (form === "image") return all;
  if (form !== "routes") {
    return describe({ places: targetPlaces, kind: "qb", form, name: functionName, methods });
  }
  for (const { method, path, places, functionName: name } of routes) {
    const request = { places, kind: "lb", form: "function", name, methods: [] } as const;
    const { functions, findings } = describe(request);
    all.functions.push(
      ...functions.map((one) => Object.assign({}, one, { route: { method, path } })),
    );
    all.findings.push(...findings);
  }
  return all;
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
