/** A build after a change gives, byte for byte, what a fresh build gives. */

import assert from "node:assert/strict";
import { rmSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { array, assert as check, asyncProperty, uint8Array } from "fast-check";
import { Project } from "../../src/compiler/compiler.ts";
import {
  compressPiece,
  GZIP_HEADER,
  gzipTrailer,
  joinChecked,
  NOTHING,
} from "../../src/compiler/gzip.ts";
import { FlashError } from "../../src/contract/errors.ts";
import { buildFolder, tempFolder, testPackage, writeIn, writeProject } from "./support.ts";

const PROJECT = `
-- package.json --
{ "name": "demo", "type": "module" }
-- texts/prompt.txt --
hello
-- limits.json --
{ "most": 3 }
-- model.ts --
export interface User { id: number; name: string }
-- names.ts --
export const prefix = "x";
-- users.ts --
import { Endpoint } from "runpod-flash";
import type { User } from "./model.ts";
export const users = Endpoint({ name: "users" });
export const list = users.get("/users", (): User[] => []);
-- admin.ts --
import { users } from "./users.ts";
import type { User } from "./model.ts";
export const add = users.post("/users", async (user: User) => user);
-- ask.ts --
import { Endpoint } from "runpod-flash";
import prompt from "./texts/prompt.txt";
import limits from "./limits.json" with { type: "json" };
import { prefix } from "./names.ts";
export const ask = Endpoint({}, async (question: string, most = 2) => prefix + prompt + question + limits.most + most);
-- deep/plain.ts --
import { Endpoint } from "runpod-flash";
export const plain = Endpoint({ name: "plain" }, async (x: number) => x);
`;

/** File and new text; undefined deletes. */
type Change = Record<string, string | undefined>;

const CHANGES: Record<string, Change> = {
  "a function's body": {
    "deep/plain.ts": `import { Endpoint } from "runpod-flash";\nexport const plain = Endpoint({ name: "plain" }, async (x: number) => x * 2);\n`,
  },
  "a comment above, which moves every line": {
    "deep/plain.ts": `// first\nimport { Endpoint } from "runpod-flash";\n\nexport const plain = Endpoint({ name: "plain" }, async (x: number) => x * 2);\n`,
  },
  "a type that two files import": {
    "model.ts": "export interface User { id: number; name: string; admin?: boolean }\n",
  },
  "a text that is imported": { "texts/prompt.txt": "hi there\n" },
  "a JSON file that is imported": { "limits.json": '{ "most": 4 }\n' },
  "plain code that one file imports": { "names.ts": 'export const prefix = "y";\n' },
  "an export's name, which is the endpoint's": {
    "ask.ts": `import { Endpoint } from "runpod-flash";\nexport const answer = Endpoint({}, async (question: string) => question);\n`,
  },
  "an import that joins two parts": {
    "deep/plain.ts": `import { Endpoint } from "runpod-flash";\nimport { answer } from "../ask.ts";\nexport const plain = Endpoint({ name: "plain" }, async (x: number) => answer(String(x)));\n`,
  },
  "an import less, which parts them again": {
    "deep/plain.ts": `import { Endpoint } from "runpod-flash";\nexport const plain = Endpoint({ name: "plain" }, async (x: number) => x);\n`,
  },
  "a new file with an endpoint": {
    "extra.ts": `import { Endpoint } from "runpod-flash";\nexport const extra = Endpoint({ name: "extra" }, async () => 1);\n`,
  },
  "a new file that an import now means": {
    "names.ts": undefined,
    "names/index.ts": 'export const prefix = "z";\n',
    "ask.ts": `import { Endpoint } from "runpod-flash";\nimport { prefix } from "./names";\nexport const answer = Endpoint({}, async (question: string) => prefix + question);\n`,
  },
  "a global type, which another file uses without an import": {
    "globals.ts": `import { Endpoint } from "runpod-flash";\ndeclare global { interface Shape { side: number } }\nexport const g = Endpoint({ name: "g" }, async () => 1);\n`,
    "extra.ts": `import { Endpoint } from "runpod-flash";\nexport const extra = Endpoint({ name: "extra" }, async (shape: Shape) => shape.side);\n`,
  },
  "that global type": {
    "globals.ts": `import { Endpoint } from "runpod-flash";\ndeclare global { interface Shape { side: string } }\nexport const g = Endpoint({ name: "g" }, async () => 1);\n`,
  },
  "a deleted file": { "extra.ts": undefined },
  "two files at once": {
    "model.ts": "export interface User { id: string }\n",
    "names/index.ts": 'export const prefix = "a";\n',
  },
  "a route that moves to another file": {
    "admin.ts": `import { users } from "./users.ts";\nexport const gone = users.delete("/users/{id}", (id: string) => id);\nexport const list = users.get("/all", () => []);\n`,
    "users.ts": `import { Endpoint } from "runpod-flash";\nexport const users = Endpoint({ name: "users" });\n`,
  },
};

describe("a rebuild", () => {
  test("is what a fresh build is, after each of many changes", async () => {
    const folder = writeProject(PROJECT);
    const project = new Project({ root: folder, app: "demo" }, testPackage());
    try {
      await project.build();
      for (const [title, change] of Object.entries(CHANGES)) {
        apply(folder, change);
        const rebuilt = await project.rebuild(Object.keys(change));
        const fresh = await buildFolder(folder, { outDir: tempFolder() });
        assert.deepEqual(rebuilt.manifest, fresh.manifest, title);
        assert.equal(rebuilt.artifact.digest, fresh.artifact.digest, title);
      }
    } finally {
      await project.close();
    }
  });

  test("knows the files of a project that is given through a link", async () => {
    const link = join(tempFolder(), "link");
    symlinkSync(writeProject(PROJECT), link);
    const project = new Project({ root: link, app: "demo" }, testPackage());
    try {
      await project.build();
      apply(link, { "names.ts": 'export const prefix = "linked";\n' });
      const rebuilt = await project.rebuild([join(link, "names.ts")]);
      const fresh = await buildFolder(link, { outDir: tempFolder() });
      assert.equal(rebuilt.artifact.digest, fresh.artifact.digest);
    } finally {
      await project.close();
    }
  });

  test("sees what changed while the project could not be built", async () => {
    const folder = writeProject(PROJECT);
    const project = new Project({ root: folder, app: "demo" }, testPackage());
    try {
      await project.build();
      apply(folder, {
        "names.ts": 'export const prefix = "new";\n',
        "users.ts": 'import { Endpoint } from "runpod-flash";\nconst = 1;\n',
      });
      const broken = project.rebuild(["names.ts", "users.ts"]);
      await assert.rejects(
        broken,
        (error) => FlashError.is(error) && error.code === "BUILD_FAILED",
      );
      apply(folder, {
        "users.ts": `import { Endpoint } from "runpod-flash";\nexport const users = Endpoint({ name: "users" });\n`,
      });
      const rebuilt = await project.rebuild(["users.ts"]);
      const fresh = await buildFolder(folder, { outDir: tempFolder() });
      assert.equal(rebuilt.artifact.digest, fresh.artifact.digest);
    } finally {
      await project.close();
    }
  });

  test("reports the same mistakes as a fresh build, and again after an edit elsewhere", async () => {
    const folder = writeProject(PROJECT);
    const project = new Project({ root: folder, app: "demo" }, testPackage());
    try {
      await project.build();
      apply(folder, {
        "other.ts": `import { Endpoint } from "runpod-flash";\nexport const other = Endpoint({ name: "plain" }, async () => 1);\n`,
      });
      const expected = await messageOf(buildFolder(folder, { outDir: tempFolder() }));
      assert.match(expected, /defined in multiple files: deep\/plain\.ts, other\.ts/);
      assert.equal(await messageOf(project.rebuild(["other.ts"])), expected);
      apply(folder, { "names.ts": 'export const prefix = "w";\n' });
      assert.equal(await messageOf(project.rebuild(["names.ts"])), expected);
    } finally {
      await project.close();
    }
  });
});

describe("pieces of a gzip file", () => {
  test("join to one member with the content in a row, however it is cut", async () => {
    const contents = array(uint8Array({ maxLength: 3000, size: "max" }), { maxLength: 6 });
    await check(
      asyncProperty(contents, async (parts) => {
        const pieces = await Promise.all(parts.map(compressPiece));
        const trailer = gzipTrailer(pieces.reduce(joinChecked, NOTHING));
        const file = Buffer.concat([GZIP_HEADER, ...pieces.map(({ data }) => data), trailer]);
        assert.deepEqual(gunzipSync(file), Buffer.concat(parts));
      }),
      { numRuns: 50 },
    );
  });
});

function apply(folder: string, change: Change): void {
  for (const [file, text] of Object.entries(change)) {
    if (text === undefined) rmSync(join(folder, file));
    else writeIn(folder, file, text);
  }
}

async function messageOf(building: Promise<unknown>): Promise<string> {
  try {
    await building;
  } catch (error) {
    return (error as Error).message;
  }
  return assert.fail("the project builds");
}
