/** The SDK as others bundle it: for browsers, and as small as it can be. */

import assert from "node:assert/strict";
import path from "node:path";
import { describe, test } from "node:test";
import { build } from "esbuild";
import { run } from "../support/program.ts";
import { ROOT, temporaryFolder } from "../support/temp.ts";

const SDK = path.join(ROOT, "src", "sdk", "sdk.ts");

async function bundle(outdir: string): Promise<{ file: string; bytes: number; imports: string[] }> {
  const { metafile } = await build({
    entryPoints: [SDK],
    outdir,
    bundle: true,
    minify: true,
    splitting: true,
    format: "esm",
    platform: "neutral",
    metafile: true,
    logLevel: "silent",
  });
  const outputs = Object.entries(metafile.outputs);
  const [name = "", entry] = outputs.find(([, one]) => one.entryPoint !== undefined) ?? [];
  const files = [
    entry,
    ...(entry?.imports ?? [])
      .filter(({ kind }) => kind === "import-statement")
      .map((one) => metafile.outputs[one.path]),
  ];
  return {
    file: path.resolve(name),
    bytes: files.reduce((sum, one) => sum + (one?.bytes ?? 0), 0),
    imports: outputs.flatMap(([, one]) =>
      one.imports.filter(({ external }) => external).map((one) => one.path),
    ),
  };
}

describe("the bundled SDK", () => {
  test("needs no module of Node, and loads less than 64 KiB before the first remote call", async (t) => {
    const { bytes, imports } = await bundle(temporaryFolder(t));
    assert.deepEqual(imports, []);
    assert.ok(bytes < 64 * 1024, `${bytes} bytes`);
  });

  test("loads and runs without Node's process, as in a browser", async (t) => {
    const folder = temporaryFolder(t);
    const { file } = await bundle(folder);
    const code = `
      const log = console.log, errors = [];
      console.error = (line) => errors.push(line);
      delete globalThis.process;
      const { Endpoint } = await import(${JSON.stringify(file)});
      const double = Endpoint({ name: "double" }, (x) => x * 2);
      globalThis.fetch = async (url, init) => new Response(JSON.stringify({ id: "j", status: "COMPLETED", output: url }));
      log(await double(4), await (await double.run(5)).result());
      const failed = await Endpoint({ id: "abc" }).runsync({}).catch((error) => error.code);
      log(failed);`;
    const finished = await run([process.execPath, "--input-type=module", "--eval", code], {
      cwd: folder,
    });
    assert.equal(finished.stdout, "8 10\nUNAUTHORIZED\n", finished.stderr);
  });
});
