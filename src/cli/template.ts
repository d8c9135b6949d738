/** The project template: what `flash init` writes. Plain enough for Node 18. */

import { existsSync } from "node:fs";
import { readdir, readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { makeFolder } from "../server/control/folders.ts";
import { PACKAGE_ROOT } from "./package.ts";

export interface TemplateValues {
  /** The folder's name, as people read it. */
  projectName: string;
  /** Source of the SDK for package.json: a version range, `file:…`, a URL. */
  sdk: string;
  /** Adds the npm package `node`, because the machine's own Node is too old. */
  bringsNode: boolean;
}

/** A file to be written, relative to the project. */
export interface TemplateFile {
  name: string;
  text: string;
}

/**
 * Names in the template folder that differ from those in the project. npm leaves `.gitignore` out of
 * packages, and the others must not mean anything while they lie here.
 */
const NAMES: Readonly<Record<string, string>> = {
  "AGENTS-md": "AGENTS.md",
  "README-md": "README.md",
  "env-example": ".env.example",
  gitignore: ".gitignore",
  "oxlintrc-json": ".oxlintrc.json",
  "package-json": "package.json",
  "tsconfig-json": "tsconfig.json",
  "workers-test.ts": "workers.test.ts",
};

/** Somebody's own notes for assistants are worth more than ours. */
const KEPT = "AGENTS.md";

/** The template's files with the values filled in, by name. */
export async function templateFiles(values: TemplateValues): Promise<TemplateFile[]> {
  const folder = path.join(PACKAGE_ROOT, "templates", "default");
  const names = await readdir(folder);
  const files = await Promise.all(
    names.map(async (stored) => {
      const name = NAMES[stored] ?? stored;
      const text = fill(await readFile(path.join(folder, stored), "utf8"), values);
      return { name, text: name === "package.json" ? packageJson(text, values) : text };
    }),
  );
  return files.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Names of files that exist already and would be lost. */
export function conflictsOf(folder: string, files: readonly TemplateFile[]): string[] {
  return files
    .map(({ name }) => name)
    .filter((name) => name !== KEPT && existsSync(path.join(folder, name)));
}

/** Writes the files and returns the names of those that were written. */
export async function writeTemplate(
  folder: string,
  files: readonly TemplateFile[],
): Promise<string[]> {
  makeFolder(folder);
  const written: string[] = [];
  for (const { name, text } of files) {
    const file = path.join(folder, name);
    if (name === KEPT && existsSync(file)) continue;
    await writeFile(file, text);
    written.push(name);
  }
  return written;
}

function fill(text: string, values: TemplateValues): string {
  const replacements: Record<string, string> = {
    project_name: values.projectName,
    package_name: packageName(values.projectName),
    sdk: values.sdk,
  };
  return text.replace(/\{\{(\w+)\}\}/g, (whole, name: string) => replacements[name] ?? whole);
}

/** npm allows lower-case letters, digits, `-`, `_` and `.`, not at the start. */
function packageName(projectName: string): string {
  const plain = projectName
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[^a-z0-9]+|[^a-z0-9]+$/g, "");
  // The package must not have the name of what it depends on.
  if (plain === "runpod-flash") return "runpod-flash-app";
  return plain === "" ? "flash-app" : plain.slice(0, 100);
}

function packageJson(text: string, values: TemplateValues): string {
  if (!values.bringsNode) return text;
  const document = JSON.parse(text) as { devDependencies: Record<string, string> };
  const devDependencies = { ...document.devDependencies, node: "^24.0.0" };
  const sorted = Object.entries(devDependencies).sort(([a], [b]) => (a < b ? -1 : 1));
  return `${JSON.stringify({ ...document, devDependencies: Object.fromEntries(sorted) }, null, 2)}\n`;
}
