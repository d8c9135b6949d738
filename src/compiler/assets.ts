/**
 * Files that code reads from beside itself, as in `new URL("./words.txt", import.meta.url)`. They are
 * shipped beside the bundle, where the same expression finds them; what cannot be is reported.
 */

import { readFileSync, realpathSync, statSync } from "node:fs";
import { join, posix } from "node:path";
import { errorAt, warningAt, type Finding, type Place } from "./diagnostics.ts";
import { isEnvFile, type IgnoreRules } from "./ignore-rules.ts";
import { isSource } from "./imports.ts";
import { projectPath } from "./stack.ts";

export interface Asset {
  /** Project file, relative. */
  file: string;
  /** From the bundle's folder. */
  path: string;
  content: Uint8Array;
}

export interface FoundAssets {
  assets: Asset[];
  findings: Finding[];
}

/** Only a text that is written out: what is computed is known when it runs. */
const BESIDE = /\bnew\s+URL\(\s*(["'`])(\.{1,2}\/[^"'`$\n]*)\1\s*,\s*import\.meta\.url\s*,?\s*\)/g;

/** What a bundle's folder holds already. */
const TAKEN = /^(index\.mjs(\.map)?|node_modules\/.*)$/;

/** What the files of one bundle read. `inputs` are relative to the project. */
export function findAssets(
  root: string,
  inputs: readonly string[],
  rules: IgnoreRules,
): FoundAssets {
  const found: FoundAssets = { assets: [], findings: [] };
  for (const input of inputs) {
    if (!isSource(input) || input.includes("node_modules/")) continue;
    const text = readFileSync(join(root, input), "utf8");
    if (!text.includes("import.meta.url")) continue;
    for (const match of text.matchAll(BESIDE)) {
      const place = placeIn(input, text, match.index);
      if (place !== undefined) addAsset({ root, rules, found }, match[2] ?? "", place);
    }
  }
  return found;
}

/** Undefined in a comment that takes the line. */
function placeIn(file: string, text: string, offset: number): Place | undefined {
  const before = text.slice(0, offset).split("\n");
  const start = before.at(-1) ?? "";
  if (/^\s*(\/\/|\*|\/\*)/.test(start)) return undefined;
  return { file, line: before.length, column: start.length + 1 };
}

interface Collecting {
  root: string;
  rules: IgnoreRules;
  found: FoundAssets;
}

function addAsset({ root, rules, found }: Collecting, specifier: string, place: Place): void {
  const file = posix.join(posix.dirname(place.file), specifier);
  const path = posix.normalize(specifier);
  const problem = problemOf({ root, rules, found }, { file, path, specifier, place });
  if (problem !== undefined) {
    found.findings.push(problem);
    return;
  }
  if (found.assets.some((asset) => asset.path === path)) return;
  found.assets.push({ file, path, content: readFileSync(join(root, file)) });
}

function problemOf(
  { root, rules, found }: Collecting,
  { file, path, specifier, place }: { file: string; path: string; specifier: string; place: Place },
): Finding | undefined {
  const beside = "Move it beside the code, or import it: import text from './words.txt'.";
  if (path.startsWith("../")) {
    return warningAt(
      place,
      `'${specifier}' is not shipped: a worker has only what lies beside or below the code`,
      beside,
    );
  }
  if (statSync(join(root, file), { throwIfNoEntry: false })?.isFile() !== true) {
    return warningAt(place, `'${specifier}' is not shipped: there is no file ${file}`, beside);
  }
  // A link may lead to what no artifact may hold.
  const real = projectPath(root, realpathSync(join(root, file)));
  if (real === undefined || isEnvFile(real) || isEnvFile(file) || rules.ignores(file)) {
    return errorAt(
      place,
      `Shipped code reads '${specifier}', which the build ignore rules (.gitignore or built-in defaults) exclude`,
      "Remove the matching ignore pattern or stop reading the file from shipped code.",
    );
  }
  const other = found.assets.find((asset) => asset.path === path);
  if (TAKEN.test(path) || (other !== undefined && other.file !== file)) {
    return errorAt(
      place,
      `'${specifier}' cannot be shipped: ${other === undefined ? "the bundle" : other.file} has the same place beside the code`,
      "Give the file another name.",
    );
  }
  return undefined;
}
