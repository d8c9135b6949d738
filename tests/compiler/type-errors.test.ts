/** What TypeScript has against a project, which no build asks about. */

import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import { Project } from "../../src/compiler/compiler.ts";
import { testPackage, writeIn, writeProject } from "./support.ts";

const STRICT = `
-- package.json --
{ "name": "demo", "type": "module" }
-- tsconfig.json --
{
  // as the template has it
  "compilerOptions": { "target": "es2024", "module": "nodenext", "strict": true, "noEmit": true, "types": [], "isolatedDeclarations": true, "declaration": true }
}
`;

const GREET = `
-- greet.ts --
import { Endpoint } from "runpod-flash";
import { shout } from "./shout.js";

export const greet = Endpoint({ name: "greet" }, async (name: string) => shout(name));
-- shout.ts --
export function shout(text: string): string {
  return text.toUpperCase();
}
`;

const BAD_SHOUT = `export function shout(text: string): { loud: string } {
  return { loud: 3 };
}
`;

async function open(t: TestContext, text: string): Promise<{ project: Project; folder: string }> {
  const folder = writeProject(text);
  const project = new Project({ root: folder, app: "demo" }, testPackage());
  t.after(() => project.close());
  await project.build();
  return { project, folder };
}

function never(): AbortSignal {
  return new AbortController().signal;
}

test("type errors have file, line and frame; they stop no build, and are gone when mended", async (t) => {
  const { project, folder } = await open(t, STRICT + GREET);
  assert.deepEqual(await project.typeErrors(never()), []);

  writeIn(folder, "shout.ts", BAD_SHOUT);
  await project.rebuild(["shout.ts"]);
  assert.deepEqual(await project.typeErrors(never()), [
    {
      severity: "error",
      message: "Type 'number' is not assignable to type 'string'. (TS2322)",
      file: "shout.ts",
      line: 2,
      column: 12,
      frame: [
        "  1 | export function shout(text: string): { loud: string } {",
        "> 2 |   return { loud: 3 };",
        "    |            ^",
        "  3 | }",
      ].join("\n"),
    },
  ]);

  writeIn(folder, "shout.ts", "export const shout = (text: string): string => text;\n");
  await project.rebuild(["shout.ts"]);
  assert.deepEqual(await project.typeErrors(never()), []);
});

test("the reasons of an error are in its message", async (t) => {
  const { project } = await open(
    t,
    `${STRICT}
-- one.ts --
import { Endpoint } from "runpod-flash";
interface Deep { a: { b: string } }
export const one = Endpoint({ name: "one" }, async (given: { a: { b: number } }): Promise<Deep> => given);
`,
  );
  const [error, ...others] = (await project.typeErrors(never())) ?? [];
  assert.deepEqual(others, []);
  assert.match(error?.message ?? "", /\(TS2322\)\n {2}The types of 'a\.b' are incompatible/);
});

test("a project is checked as strictly as its tsconfig says, which is not how its schemas are made", async (t) => {
  const lenient = `${STRICT.replace('"strict": true', '"strict": false')}
-- one.ts --
import { Endpoint } from "runpod-flash";
export const one = Endpoint({ name: "one" }, async (text: string) => { const other: string = null; return text + other; });
`;
  const { project } = await open(t, lenient);
  assert.deepEqual(await project.typeErrors(never()), []);
  const strict = await open(t, lenient.replace('"strict": false', '"strict": true'));
  assert.equal((await strict.project.typeErrors(never()))?.length, 1);
});

test("nothing is known without a tsconfig, with one that means other files, and with one that is refused", async (t) => {
  const bad = GREET.replace("shout(name)", "shout(3)");
  const unknown = {
    none: `\n-- package.json --\n{ "name": "demo", "type": "module" }\n${bad}`,
    others: `${STRICT.replace('"compilerOptions"', '"include": ["web/**/*"], "compilerOptions"')}${bad}`,
    refused: `${STRICT.replace('"strict"', '"baseUrl": ".", "strict"')}${bad}`,
  };
  for (const [why, text] of Object.entries(unknown)) {
    const { project } = await open(t, text);
    assert.equal(await project.typeErrors(never()), undefined, why);
  }
  const { project } = await open(t, STRICT + bad);
  assert.equal((await project.typeErrors(never()))?.length, 1, "the same with a plain tsconfig");
});

test("errors of packages that ship their sources are not the project's", async (t) => {
  const { project } = await open(
    t,
    `${STRICT}
-- node_modules/lib/package.json --
{ "name": "lib", "type": "module", "exports": { "types": "./lib.ts", "default": "./lib.js" } }
-- node_modules/lib/lib.js --
export const value = "";
-- node_modules/lib/lib.ts --
export const value: string = 3;
-- one.ts --
import { Endpoint } from "runpod-flash";
import { value } from "lib";
export const one = Endpoint({ name: "one" }, async () => value.length);
`,
  );
  assert.deepEqual(await project.typeErrors(never()), []);
});

test("a check that is no longer wanted ends without an answer", async (t) => {
  const { project } = await open(t, STRICT + GREET);
  const abort = new AbortController();
  const answer = project.typeErrors(abort.signal);
  abort.abort();
  assert.equal(await answer, undefined);
  await project.close();
  assert.equal(await project.typeErrors(never()), undefined, "nor after the end");
});
