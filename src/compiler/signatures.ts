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
  /** Asked only when a signature is not known. */
  openTypes: () => TypeView;
}

export class Signatures {
  readonly #known = new Map<string, DescribedHandler>();

  /** Forgets everything: something beyond the project's sources may have changed. */
  clear(): void {
    this.#known.clear();
  }

  /** Adds its functions to each endpoint; what is wrong with them goes to `findings`. */
  describe(
    endpoints: readonly FoundEndpoint[],
    sources: SignatureSources,
    findings: Finding[],
  ): CheckedEndpoint[] {
    const closures = new Closures(sources.scan, sources.candidates);
    let view: TypeView | undefined;
    const describe = (request: HandlerRequest): FunctionManifest[] => {
      const key = closures.keyOf(request);
      let described = this.#known.get(key);
      if (described === undefined) {
        view ??= sources.openTypes();
        described = describeHandler(view, sources.root, request);
        this.#known.set(key, described);
      }
      findings.push(...described.findings);
      return described.functions;
    };
    return endpoints.map((endpoint) =>
      Object.assign({ functions: functionsOf(endpoint, describe) }, endpoint),
    );
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
