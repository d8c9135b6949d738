/**
 * What the SDK weighs in someone else's bundle: minified bytes that load up front and bytes that load
 * with the first call, for programs that use more and more of it.
 *
 *   node bench/sdk-size.ts [--parts] [--dist]
 *
 * `--parts` lists the files behind the first figure; `--dist` measures what is published instead of
 * the sources.
 */

import { mkdirSync, writeFileSync } from "node:fs";
import path from "node:path";
import { parseArgs } from "node:util";
import { gzipSync } from "node:zlib";
import { build, type Metafile } from "esbuild";

const ROOT = path.dirname(import.meta.dirname);

export const PROGRAMS = {
  "a client": `import { Endpoint } from "runpod-flash";
const endpoint = Endpoint({ id: "x" });
await endpoint.runsync({});`,
  "a client and EndpointJob": `import { Endpoint, EndpointJob } from "runpod-flash";
const job = await Endpoint({ id: "x" }).run({});
console.log(job instanceof EndpointJob);`,
  everything: `import * as flash from "runpod-flash"; console.log(flash);`,
} as const;

export interface Size {
  /** Loads before the first call. */
  upFrontBytes: number;
  upFrontGzipBytes: number;
  /** Loads with the first call of each kind, all kinds together. */
  lazyBytes: number;
  /** Imports that no bundle resolved: none, or the SDK would not load in a browser. */
  imports: string[];
  /** Bytes up front by file, largest first. */
  parts: [file: string, bytes: number][];
  /** The entry's file, written when an `outdir` is given. */
  entry: string;
}

/** Bundles `program` as for a browser. `from` is what `runpod-flash` stands for; `outdir` gets the files. */
export async function measure(
  program: string,
  { from = "src/sdk/sdk.ts", outdir }: { from?: string; outdir?: string } = {},
): Promise<Size> {
  const { metafile, outputFiles } = await build({
    stdin: { contents: program, resolveDir: ROOT, sourcefile: "program.js" },
    alias: { "runpod-flash": path.join(ROOT, from) },
    absWorkingDir: ROOT,
    outdir: outdir ?? "out",
    bundle: true,
    minify: true,
    splitting: true,
    format: "esm",
    platform: "neutral",
    metafile: true,
    write: false,
    logLevel: "silent",
  });
  // What is loaded lazily is an entry point as well.
  const entry =
    Object.keys(metafile.outputs).find(
      (name) => metafile.outputs[name]?.entryPoint === "program.js",
    ) ?? "";
  const upFront = staticallyReached(metafile, entry);
  if (outdir !== undefined) {
    mkdirSync(outdir, { recursive: true });
    for (const file of outputFiles) writeFileSync(file.path, file.contents);
  }
  const sizeOf = (names: readonly string[]): number =>
    names.reduce((sum, name) => sum + (metafile.outputs[name]?.bytes ?? 0), 0);
  const texts = outputFiles.filter((file) => upFront.includes(path.relative(ROOT, file.path)));
  return {
    upFrontBytes: sizeOf(upFront),
    upFrontGzipBytes: texts.reduce((sum, { contents }) => sum + gzipSync(contents).length, 0),
    lazyBytes: sizeOf(Object.keys(metafile.outputs).filter((name) => !upFront.includes(name))),
    imports: Object.values(metafile.outputs).flatMap((output) =>
      output.imports.filter(({ external }) => external).map((one) => one.path),
    ),
    parts: partsOf(metafile, upFront),
    entry: path.join(ROOT, entry),
  };
}

function staticallyReached({ outputs }: Metafile, entry: string): string[] {
  const reached = [entry];
  for (const name of reached) {
    for (const { path: next, kind } of outputs[name]?.imports ?? []) {
      if (kind === "import-statement" && !reached.includes(next)) reached.push(next);
    }
  }
  return reached;
}

function partsOf({ outputs }: Metafile, names: readonly string[]): [string, number][] {
  const parts = names.flatMap((name) =>
    Object.entries(outputs[name]?.inputs ?? {}).map(
      ([file, { bytesInOutput }]): [string, number] => [file, bytesInOutput],
    ),
  );
  return parts.filter(([, bytes]) => bytes > 0).toSorted(([, a], [, b]) => b - a);
}

function kib(bytes: number): string {
  return `${(bytes / 1024).toFixed(1)} KiB`;
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: { parts: { type: "boolean" }, dist: { type: "boolean" } },
  });
  const from = values.dist === true ? "dist/sdk/sdk.js" : "src/sdk/sdk.ts";
  console.log(
    `${"minified".padEnd(26)}${"up front".padStart(12)}${"gzip".padStart(12)}${"lazy".padStart(12)}`,
  );
  for (const [name, program] of Object.entries(PROGRAMS)) {
    const size = await measure(program, { from });
    const figures = [size.upFrontBytes, size.upFrontGzipBytes, size.lazyBytes];
    console.log(`${name.padEnd(26)}${figures.map((one) => kib(one).padStart(12)).join("")}`);
    if (values.parts !== true) continue;
    for (const [file, bytes] of size.parts) console.log(`  ${String(bytes).padStart(6)}  ${file}`);
  }
}
