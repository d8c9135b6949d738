/**
 * Step 2 as a whole: what the project declares. After an edit only the parts that the edit can reach
 * are built and evaluated again, each time in a fresh process.
 *
 * A part is a set of candidates that share a file which declares, and all that they import. A worker
 * loads the files of its own endpoint alone, so what one part declares cannot depend on another.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { Metafile } from "esbuild";
import type { Candidates } from "./candidates.ts";
import { describeFiles, type DescribeProcesses } from "./describe.ts";
import { sdkUrl, type DescribeBuild } from "./describe-build.ts";
import { byPlace, type Finding, type Place } from "./diagnostics.ts";
import { collectEndpoints, type CollectOptions, type FoundProject } from "./endpoints.ts";
import { graphOf, importClosure } from "./imports.ts";
import type { OwnPackage } from "./own-package.ts";
import { StackMapper } from "./stack.ts";

type Inputs = Metafile["inputs"];

export interface Described {
  found: FoundProject;
  /** What was read, by path relative to the project. */
  inputs: Inputs;
  /** What is wrong with the build itself. */
  findings: Finding[];
}

export interface DescribeRequest extends Pick<CollectOptions, "overrides" | "importPlace"> {
  scan: Candidates;
  /** Which files may differ from the last call, while no others came or went; undefined for all. */
  changed: ReadonlySet<string> | undefined;
  signal: AbortSignal | undefined;
}

interface Part extends Described {
  candidates: string[];
}

export interface DescriberParts {
  root: string;
  outDir: string;
  own: OwnPackage;
  build: DescribeBuild;
  processes: DescribeProcesses;
}

export class Describer {
  readonly #with: DescriberParts;
  /** Undefined when what was found cannot be told apart: then everything is described again. */
  #parts: Part[] | undefined;

  constructor(parts: DescriberParts) {
    this.#with = parts;
  }

  async describe(request: DescribeRequest): Promise<Described> {
    const { scan, changed } = request;
    const before = changed === undefined ? undefined : this.#parts;
    // Whatever goes wrong below, nothing that is out of date is left.
    this.#parts = undefined;
    const stale = before === undefined ? undefined : staleParts(before, scan, changed ?? new Set());
    const kept = stale === undefined ? [] : (before ?? []).filter((part) => !stale.has(part));
    const known = new Set(kept.flatMap(({ candidates }) => candidates));
    const files = scan.candidates.filter((file) => !known.has(file));
    if (files.length === 0) return this.#keep(kept);
    const fresh = await this.#evaluate(files, request);
    // The text did not show an import that the build has followed.
    if (Object.keys(fresh.inputs).some((file) => known.has(file)))
      return this.describe({ ...request, changed: undefined });
    const parts = split(fresh, files, sdkUrl(this.#with.own));
    return parts === undefined ? united([...kept, fresh]) : this.#keep([...kept, ...parts]);
  }

  #keep(parts: Part[]): Described {
    this.#parts = parts;
    return united(parts);
  }

  async #evaluate(files: readonly string[], request: DescribeRequest): Promise<Described> {
    const { root, outDir, build, processes } = this.#with;
    const { scan, signal, overrides, importPlace } = request;
    const placed = [...scan.sources.values()].filter((source) => source.asksWhereItIs);
    const building = build.run(
      files,
      scan.graph,
      placed.map(({ path }) => path),
    );
    const coming = building.then((output) => output.files);
    const describing = describeFiles({ files: coming, processes, signal });
    const [output, report] = await Promise.all([building, describing]);
    const mapper = new StackMapper(root, outDir);
    const found = collectEndpoints(report, {
      mapper,
      overrides,
      importPlace,
      nameAt: (place) => (place === undefined ? undefined : variableAt(root, place)),
    });
    return { found, inputs: output.inputs, findings: output.findings };
  }
}

/** `a` of `export const a = api.get(…)`, whichever part of the call the place is. */
function variableAt(root: string, { file, line, column }: Place): string | undefined {
  const lines = readFileSync(join(root, file), "utf8").split("\n");
  const before = [...lines.slice(0, line - 1), lines[line - 1]?.slice(0, column - 1)].join("\n");
  return /\b(?:const|let|var)\s+([\w$]+)\s*(?::[^=;]*)?=\s*[\w$.\s]*$/.exec(before)?.[1];
}

/** Parts that a changed file belongs to, and those that have become one with them. */
function staleParts(
  parts: readonly Part[],
  scan: Candidates,
  changed: ReadonlySet<string>,
): ReadonlySet<Part> | undefined {
  const read = new Set(parts.flatMap(({ inputs }) => Object.keys(inputs)));
  // A file that is no code may be read while modules load: nobody knows by which.
  if ([...changed].some((file) => !read.has(file) && !scan.sources.has(file))) return undefined;
  const owners = new Map<string, Part>();
  for (const part of parts) for (const file of part.candidates) owners.set(file, part);
  const stale = new Set(
    parts.filter((part) => Object.keys(part.inputs).some((file) => changed.has(file))),
  );
  const fresh = scan.candidates.filter((file) => !owners.has(file));
  const files = new Set([...fresh, ...[...stale].flatMap(({ candidates }) => candidates)]);
  for (const file of files) {
    for (const reached of importClosure(file, scan.graph)) {
      const owner = owners.get(reached);
      if (owner === undefined || stale.has(owner)) continue;
      stale.add(owner);
      for (const candidate of owner.candidates) files.add(candidate);
    }
  }
  return stale;
}

/** Everything that was found, part by part; undefined when it cannot be told apart. */
function split(described: Described, files: readonly string[], sdk: string): Part[] | undefined {
  const { found, inputs, findings } = described;
  // What a broken file would have declared is not known.
  if (findings.some(({ severity }) => severity === "error")) return undefined;
  const parts = groupCandidates(files, inputs, sdk).map((group) => emptyPart(group, inputs));
  const owners = new Map<string, Part[]>();
  for (const part of parts)
    for (const file of Object.keys(part.inputs))
      owners.set(file, [...(owners.get(file) ?? []), part]);
  let isWhole = true;
  const ownersOf = (file: string | undefined): readonly Part[] => {
    const known = file === undefined ? undefined : owners.get(file);
    if (known === undefined) isWhole = false;
    return known ?? [];
  };
  for (const endpoint of found.endpoints) {
    const [part, ...others] = ownersOf(endpoint.files[0]);
    if (others.length > 0) isWhole = false;
    part?.found.endpoints.push(endpoint);
  }
  for (const name of found.derivedNames)
    for (const part of ownersOf(name.file)) part.found.derivedNames.push(name);
  for (const finding of found.findings)
    for (const part of ownersOf(finding.file)) part.found.findings.push(finding);
  for (const finding of findings)
    for (const part of ownersOf(finding.file)) part.findings.push(finding);
  return isWhole ? parts : undefined;
}

function emptyPart({ candidates, reads }: Group, inputs: Inputs): Part {
  const own = [...reads].flatMap((file): [string, Inputs[string]][] => {
    const input = inputs[file];
    return input === undefined ? [] : [[file, input]];
  });
  return {
    candidates,
    inputs: Object.fromEntries(own),
    findings: [],
    found: { endpoints: [], derivedNames: [], findings: [] },
  };
}

interface Group {
  candidates: string[];
  /** Everything that they import, directly or not. */
  reads: Set<string>;
}

/** Candidates are of one group when they lead to the same declaring file. */
function groupCandidates(files: readonly string[], inputs: Inputs, sdk: string): Group[] {
  const graph = graphOf(inputs);
  const declaring = new Set(files);
  for (const [file, { imports }] of Object.entries(inputs))
    if (imports.some(({ path }) => path === sdk)) declaring.add(file);
  const groups = new Map<string, Group>();
  for (const file of files) {
    const reads = importClosure(file, graph);
    const meets = new Set(
      reads.filter((one) => declaring.has(one)).flatMap((one) => groups.get(one) ?? []),
    );
    const group: Group = { candidates: [file], reads: new Set(reads) };
    for (const other of meets) {
      group.candidates.push(...other.candidates);
      for (const one of other.reads) group.reads.add(one);
    }
    for (const one of group.reads) if (declaring.has(one)) groups.set(one, group);
  }
  return [...new Set(groups.values())];
}

function united(parts: readonly Described[]): Described {
  const endpoints = parts.flatMap(({ found }) => found.endpoints);
  return {
    inputs: Object.assign({}, ...parts.map(({ inputs }) => inputs)) as Inputs,
    findings: parts.flatMap(({ findings }) => findings),
    found: {
      // The same order whatever was evaluated together.
      endpoints: endpoints.sort((a, b) => byPlace(a.place ?? {}, b.place ?? {})),
      derivedNames: parts.flatMap(({ found }) => found.derivedNames),
      findings: parts.flatMap(({ found }) => found.findings),
    },
  };
}
