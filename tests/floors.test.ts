/**
 * The house rules that no type checker knows: who may import whom, what the rooms are called, and what
 * an older Node would refuse.
 */

import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { dirname, join, posix } from "node:path";
import { describe, test } from "node:test";

const SRC = join(import.meta.dirname, "../src");

/** What a room may import besides itself. */
const GROUND = ["contract", "kit"];
const ROOMS = ["sdk", "compiler", "worker", "server", "clouds"];
const ALLOWED: Record<string, readonly string[]> = {
  contract: [],
  kit: ["contract"],
  ...Object.fromEntries(ROOMS.map((room) => [room, GROUND])),
  console: GROUND,
  dev: [...GROUND, ...ROOMS],
  cli: [...GROUND, ...ROOMS, "dev"],
};

const FRONT_DOORS: Record<string, string> = { cli: "cli/main.ts" };

const files = readdirSync(SRC, { recursive: true, encoding: "utf8" })
  .map((file) => file.replaceAll("\\", "/"))
  .filter((file) => /\.tsx?$/.test(file))
  .sort();
const rooms = [...new Set(files.map((file) => file.split("/")[0] ?? ""))];

interface Import {
  from: string;
  /** File under `src`, or the specifier when it is none. */
  to: string;
  isType: boolean;
  isDynamic: boolean;
}

const imports = files.flatMap((file) => importsOf(file, readFileSync(join(SRC, file), "utf8")));

/**
 * Static imports stand at the start of a line, as the formatter puts them. So import statements
 * inside template strings, which the compiler writes, are told apart by their indentation.
 */
function importsOf(file: string, source: string): Import[] {
  const code = source.replaceAll(/^\s*\/\/.*$/gm, "").replaceAll(/^\s*\/\*[^]*?\*\//gm, "");
  const found: Import[] = [];
  const add = (specifier: string, isType: boolean, isDynamic: boolean): void => {
    const to = specifier.startsWith(".") ? posix.join(dirname(file), specifier) : specifier;
    found.push({ from: file, to, isType, isDynamic });
  };
  const clause = /^(?:import|export)\s+(type\s)?(?:[\w*\s{},$]+?\sfrom\s+)?"([^"\n]+)";/gm;
  for (const [, type, specifier = ""] of code.matchAll(clause)) {
    add(specifier, type !== undefined, false);
  }
  for (const [, specifier = ""] of code.matchAll(/\bimport\(\s*"([^"\n]+)"\s*\)/g)) {
    // `typeof import("…")` is a type.
    add(specifier, code.includes(`typeof import("${specifier}")`), true);
  }
  return found;
}

function roomOf(file: string): string {
  return file.split("/")[0] ?? "";
}

function describeImport({ from, to }: Import): string {
  return `src/${from} imports ${to}`;
}

describe("floors", () => {
  test("the imports were found", () => {
    assert.ok(imports.length > files.length, `${imports.length} imports in ${files.length} files`);
    const local = imports.filter(({ to }) => files.includes(to));
    assert.ok(local.length > files.length);
  });

  test("the reader of imports sees every form", () => {
    const source = `
import "./a.ts";
import type { B } from "./b.ts";
import c, {
  type D,
  e as f,
} from "./c.ts";
export * from "./d.ts";
export { g } from "./e.ts";
import * as h from "node:fs";
// import "./no.ts";
  const text = \`import "./no.ts";\`;
const i = await import("./f.ts");
const url = new URL("./no.ts", import.meta.url);
`;
    assert.deepEqual(
      importsOf("room/x.ts", source).map(({ to, isType, isDynamic }) => [to, isType, isDynamic]),
      [
        ["room/a.ts", false, false],
        ["room/b.ts", true, false],
        ["room/c.ts", false, false],
        ["room/d.ts", false, false],
        ["room/e.ts", false, false],
        ["node:fs", false, false],
        ["room/f.ts", false, true],
      ],
    );
  });

  test("every room has its floor", () => {
    for (const room of rooms) assert.ok(Object.hasOwn(ALLOWED, room), `src/${room} has no floor`);
  });

  test("a file imports its own room or a lower floor, types included", () => {
    const wrong = imports.filter(({ from, to }) => {
      if (!to.includes("/") || to.startsWith("node:") || !rooms.includes(roomOf(to))) return false;
      return roomOf(to) !== roomOf(from) && ALLOWED[roomOf(from)]?.includes(roomOf(to)) !== true;
    });
    assert.deepEqual(wrong.map(describeImport), []);
  });

  test("a relative import names a file of this tree, with its ending", () => {
    const wrong = imports.filter(
      ({ to }) => (rooms.includes(roomOf(to)) || to.startsWith("..")) && !files.includes(to),
    );
    assert.deepEqual(wrong.map(describeImport), []);
  });

  test("no file leads back to itself at run time", () => {
    const next = new Map<string, string[]>();
    for (const { from, to, isType, isDynamic } of imports) {
      if (isType || isDynamic) continue;
      next.set(from, [...(next.get(from) ?? []), to]);
    }
    const done = new Set<string>();
    const visit = (file: string, trail: readonly string[]): string[] | undefined => {
      if (trail.includes(file)) return [...trail.slice(trail.indexOf(file)), file];
      if (done.has(file)) return undefined;
      for (const to of next.get(file) ?? []) {
        const cycle = visit(to, [...trail, file]);
        if (cycle !== undefined) return cycle;
      }
      done.add(file);
      return undefined;
    };
    for (const file of files) assert.equal(visit(file, [])?.join(" → "), undefined);
  });

  test("contract and kit run anywhere: nothing of Node in them", () => {
    const wrong = imports.filter(
      ({ from, to }) => ["contract", "kit"].includes(roomOf(from)) && to.startsWith("node:"),
    );
    assert.deepEqual(wrong.map(describeImport), []);
  });

  test("the SDK loads nothing of Node before it is needed", () => {
    const wrong = imports.filter(
      ({ from, to, isType, isDynamic }) =>
        roomOf(from) === "sdk" && to.startsWith("node:") && !isType && !isDynamic,
    );
    assert.deepEqual(wrong.map(describeImport), []);
  });
});

describe("names", () => {
  test("no folder or file is named after nothing", () => {
    const empty = /^(utils?|helpers?|common|misc|lib)$/;
    const wrong = files.filter((file) =>
      file.split("/").some((part) => empty.test(part.replace(/(\.d)?\.tsx?$/, ""))),
    );
    assert.deepEqual(wrong, []);
  });

  test("every room has its front door", () => {
    const missing = rooms
      .filter((room) => room !== "console")
      .map((room) => FRONT_DOORS[room] ?? `${room}/${room}.ts`)
      .filter((door) => !files.includes(door));
    assert.deepEqual(missing, []);
  });

  test("every file says what it owns", () => {
    const silent = files.filter((file) => {
      const source = readFileSync(join(SRC, file), "utf8").replace(/^#!.*\n/, "");
      return !/^\s*(\/\*\*|\/\/ )/.test(source);
    });
    assert.deepEqual(silent, []);
  });
});

describe("statements", () => {
  /** Node 22.18 and the first of 24 count `?1` as a name: values given by their position do not reach it. */
  const NUMBERED = /\?\d/;

  test("the reader of statements sees a numbered parameter, and nothing in other code", () => {
    assert.match("WHERE ?1 IS NULL OR app = ?1", NUMBERED);
    assert.doesNotMatch("WHERE ? IS NULL OR app = :app LIMIT 1; a ? 1 : b?.[0]", NUMBERED);
  });

  test("no statement of the store has a numbered parameter", () => {
    const store = files.filter((file) => file.startsWith("server/store/"));
    assert.ok(store.length > 0);
    const wrong = store.flatMap((file) =>
      readFileSync(join(SRC, file), "utf8")
        .split("\n")
        .map((line, index) => ({ line, place: `src/${file}:${index + 1}` }))
        .filter(({ line }) => NUMBERED.test(line))
        .map(({ line, place }) => `${place}: ${line.trim()}`),
    );
    assert.deepEqual(wrong, []);
  });
});
