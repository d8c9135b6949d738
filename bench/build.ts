/**
 * Building a large project: cold, and again after one edit, with the parts of the time, the peak
 * memory of all processes together, and how the time grows with the project.
 *
 *   node bench/build.ts [--sizes 250,500,1000] [--edits 7] [--keep]
 *
 * Each size runs in a process of its own, on the built package (`npm run build` first).
 */

import { spawn } from "node:child_process";
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import os from "node:os";
import path from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs } from "node:util";
import type { BuildResult, Project } from "../src/compiler/compiler.ts";
import { writeProject, type GeneratedProject } from "./build-project.ts";
import { median } from "./harness.ts";

/** Files for each endpoint, as in 1,000 endpoints in 300 files. */
const FILES_PER_ENDPOINT = 0.3;
/** Nobody saves twice within this time, ms. */
const BETWEEN_EDITS_MS = 500;
/** How often memory is looked at, ms. */
const SAMPLE_MS = 20;

interface Edit {
  kind: string;
  timings: Record<string, number>;
}

interface Outcome {
  cold: Record<string, number>;
  edits: Edit[];
  bytes: number;
}

interface Row extends Outcome {
  endpoints: number;
  files: number;
  /** Most memory at once, of all processes, MiB. */
  treeMiB: number;
  /** Most memory of each program in its life, MiB, by name. */
  peaks: Record<string, number>;
}

const { values } = parseArgs({
  options: {
    sizes: { type: "string", default: "250,500,1000" },
    edits: { type: "string", default: "7" },
    keep: { type: "boolean", default: false },
    measure: { type: "string" },
  },
});

type MakeEdit = (root: string, project: GeneratedProject, round: number) => string;

/** Each changes one file on disk, and gives its path. */
const EDITS: Record<string, MakeEdit> = {
  "a function's body": (root, { leaf }, round) =>
    replaceIn(root, leaf, /\* depth(?: \+ \d+)?,/, `* depth + ${round},`),
  "a function's parameters": (root, { leaf }, round) =>
    replaceIn(root, leaf, /, depth(\d*) = \d+,/, `, depth = ${round + 3},`),
  "code that all endpoints import": (root, { shared }, round) => {
    appendFileSync(path.join(root, shared), `export const edit${round} = ${round};\n`);
    return shared;
  },
};

if (values.measure === undefined) await compare();
else await measure(values.measure, Number(values.sizes));

async function compare(): Promise<void> {
  const rows: Row[] = [];
  for (const size of values.sizes.split(",").map(Number)) rows.push(await runSize(size));
  print(rows);
}

async function runSize(endpoints: number): Promise<Row> {
  const root = mkdtempSync(path.join(os.tmpdir(), "flash-bench-build-"));
  const size = { endpoints, files: Math.round(endpoints * FILES_PER_ENDPOINT) };
  writeFileSync(path.join(root, ".gitignore"), "project.json\n");
  const project = writeProject(root, size);
  writeFileSync(path.join(root, "project.json"), JSON.stringify(project));
  const child = spawn(
    process.execPath,
    [
      import.meta.filename,
      "--measure",
      root,
      "--sizes",
      String(endpoints),
      "--edits",
      values.edits,
    ],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  const memory = watchMemory(child.pid ?? 0);
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  const peak = memory.end();
  if (values.keep) process.stderr.write(`${root}\n`);
  else rmSync(root, { recursive: true, force: true });
  if (code !== 0) throw new Error(`the build of ${endpoints} endpoints ended with ${code}`);
  return { ...size, ...peak, ...(JSON.parse(text) as Outcome) };
}

/** In a process of its own: builds, edits and builds again, and prints an {@link Outcome}. */
async function measure(root: string, endpoints: number): Promise<void> {
  const Compiler = await compiler();
  const facts = JSON.parse(
    readFileSync(path.join(root, "project.json"), "utf8"),
  ) as GeneratedProject;
  const project = new Compiler({ root, app: "bench" });
  try {
    const built = await project.build();
    if (built.manifest.endpoints.length !== endpoints) throw new Error("endpoints are missing");
    const edits: Edit[] = [];
    for (let round = 0; round <= Number(values.edits); round++) {
      for (const [kind, edit] of Object.entries(EDITS)) {
        await delay(BETWEEN_EDITS_MS);
        const timings = await rebuild(project, root, edit(root, facts, round));
        // The first round warms up.
        if (round > 0) edits.push({ kind, timings });
      }
    }
    const outcome: Outcome = { cold: built.timings, edits, bytes: built.artifact.bytes };
    process.stdout.write(JSON.stringify(outcome));
  } finally {
    await project.close();
  }
}

function replaceIn(root: string, file: string, what: RegExp, by: string): string {
  const full = path.join(root, file);
  const before = readFileSync(full, "utf8");
  const after = before.replace(what, by);
  if (after === before) throw new Error(`nothing to edit in ${file}`);
  writeFileSync(full, after);
  return file;
}

async function rebuild(
  project: Project,
  root: string,
  file: string,
): Promise<Record<string, number>> {
  const start = performance.now();
  const built: BuildResult = await project.rebuild([path.join(root, file)]);
  return { ...built.timings, total: performance.now() - start };
}

async function compiler(): Promise<typeof Project> {
  const built = path.join(import.meta.dirname, "..", "dist", "compiler", "compiler.js");
  if (!existsSync(built)) throw new Error("run `npm run build` first");
  return ((await import(built)) as { Project: typeof Project }).Project;
}

/** Looks at a process and all below it until `end()`. Linux only: reads /proc. */
function watchMemory(root: number): { end(): Pick<Row, "treeMiB" | "peaks"> } {
  const peaks = new Map<string, number>();
  let tree = 0;
  const timer = setInterval(() => {
    let now = 0;
    for (const { name, rss, peak } of processesBelow(root)) {
      now += rss;
      peaks.set(name, Math.max(peaks.get(name) ?? 0, peak));
    }
    tree = Math.max(tree, now);
  }, SAMPLE_MS);
  return {
    end() {
      clearInterval(timer);
      return {
        treeMiB: tree / 1024,
        peaks: Object.fromEntries([...peaks].map(([name, kib]) => [name, kib / 1024])),
      };
    },
  };
}

interface ProcessMemory {
  name: string;
  /** KiB. */
  rss: number;
  /** Highest ever, KiB. */
  peak: number;
}

function processesBelow(root: number): ProcessMemory[] {
  const children = new Map<number, number[]>();
  for (const pid of readdirSync("/proc").map(Number).filter(Number.isInteger)) {
    const parent = fieldOf(pid, "PPid");
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), pid]);
  }
  const below = [root];
  for (const pid of below) below.push(...(children.get(pid) ?? []));
  return below.map((pid) => ({
    name: nameOf(pid, root),
    rss: fieldOf(pid, "VmRSS") ?? 0,
    peak: fieldOf(pid, "VmHWM") ?? 0,
  }));
}

/** Undefined when the process is gone. */
function fieldOf(pid: number, field: string): number | undefined {
  try {
    const status = readFileSync(`/proc/${pid}/status`, "utf8");
    const value = new RegExp(`^${field}:\\s*(\\d+)`, "m").exec(status)?.[1];
    return value === undefined ? undefined : Number(value);
  } catch {
    return undefined;
  }
}

function nameOf(pid: number, root: number): string {
  if (pid === root) return "compiler";
  try {
    const command = readFileSync(`/proc/${pid}/cmdline`, "utf8");
    if (command.includes("describe-child")) return "describing";
    if (command.includes("esbuild")) return "esbuild";
    if (command.includes("typescript") || command.includes("tsgo")) return "typescript";
    return "others";
  } catch {
    return "others";
  }
}

function print(rows: readonly Row[]): void {
  const machine = `${os.cpus().length} x ${os.cpus()[0]?.model ?? "?"}, Node ${process.version}`;
  process.stdout.write(`\n### build\n\n${machine}\n\n`);
  const steps = [...new Set(rows.flatMap((row) => Object.keys(row.cold)))];
  process.stdout.write(
    table(
      ["cold, ms", ...steps, "ms an endpoint", "artifact MiB", "peak MiB"],
      rows.map((row) => [
        label(row),
        ...steps.map((step) => whole(row.cold[step])),
        ((row.cold.total ?? 0) / row.endpoints).toFixed(2),
        (row.bytes / 1024 / 1024).toFixed(2),
        whole(row.treeMiB),
      ]),
    ),
  );
  process.stdout.write(
    table(
      ["one edit, ms (median)", "edited", ...steps],
      rows.flatMap((row) => editRows(row, steps)),
    ),
  );
  const programs = [...new Set(rows.flatMap((row) => Object.keys(row.peaks)))].sort();
  process.stdout.write(
    table(
      ["highest ever of each process, MiB", ...programs],
      rows.map((row) => [label(row), ...programs.map((name) => whole(row.peaks[name]))]),
    ),
  );
  const folder = path.join(import.meta.dirname, "results");
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, "build.json"), `${JSON.stringify({ machine, rows }, null, 2)}\n`);
}

function editRows(row: Row, steps: readonly string[]): string[][] {
  const kinds = [...new Set(row.edits.map(({ kind }) => kind))];
  return kinds.map((kind) => {
    const edits = row.edits.filter((edit) => edit.kind === kind);
    const middle = steps.map((step) => median(edits.map(({ timings }) => timings[step] ?? 0)));
    return [label(row), kind].concat(middle.map(whole));
  });
}

function label({ endpoints, files }: Row): string {
  return `${endpoints} endpoints, ${files} files`;
}

function whole(value: number | undefined): string {
  return value === undefined ? "" : value.toFixed(0);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const lines = [head, head.map(() => "---"), ...rows].map((cells) => `| ${cells.join(" | ")} |`);
  return `${lines.join("\n")}\n\n`;
}
