/** Small projects written as one text, built for real in a folder of their own. */

import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import {
  Project,
  type BuildRequest,
  type BuildResult,
  type Diagnostic,
} from "../../src/compiler/compiler.ts";
import { ownPackage, type OwnPackage } from "../../src/compiler/own-package.ts";
import { FlashError } from "../../src/contract/errors.ts";
import type { EndpointManifest, FunctionManifest } from "../../src/contract/manifest.ts";

const root = realpathSync(mkdtempSync(join(tmpdir(), "flash-compiler-")));
process.on("exit", () => rmSync(root, { recursive: true, force: true }));
let count = 0;

/** A worker program for artifacts, when the checkout is not built: packing does not look inside. */
export function testPackage(): OwnPackage {
  const own = ownPackage();
  if (existsSync(own.runtime)) return own;
  const runtime = join(root, "worker.mjs");
  writeFileSync(runtime, "export {};\n");
  return { ...own, runtime };
}

export function tempFolder(): string {
  const folder = join(root, `p${++count}`);
  mkdirSync(folder);
  return folder;
}

/** Writes the files of a text with `-- name --` lines between them, and returns the folder. */
export function writeProject(text: string): string {
  const folder = tempFolder();
  for (const [path, content] of Object.entries(filesOf(text))) writeIn(folder, path, content);
  return folder;
}

export function writeIn(folder: string, path: string, content: string): void {
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, content);
}

function filesOf(text: string): Record<string, string> {
  const parts = text.split(/^-- (.+) --\n/m);
  assert.equal(parts[0]?.trim(), "", "a project text starts with a file name");
  const files: Record<string, string> = {};
  for (let index = 1; index < parts.length; index += 2) {
    files[parts[index] ?? ""] = parts[index + 1] ?? "";
  }
  return files;
}

/** Builds a folder once and leaves nothing running. */
export async function buildFolder(
  folder: string,
  request: Partial<BuildRequest> = {},
): Promise<BuildResult> {
  const project = new Project({ root: folder, app: "demo", ...request }, testPackage());
  try {
    return await project.build();
  } finally {
    await project.close();
  }
}

export function build(text: string, request?: Partial<BuildRequest>): Promise<BuildResult> {
  return buildFolder(writeProject(text), request);
}

/** The mistakes of a project that must not build. */
export async function mistakesOf(
  text: string,
  request?: Partial<BuildRequest>,
): Promise<Diagnostic[]> {
  return mistakesIn(writeProject(text), request);
}

export async function mistakesIn(
  folder: string,
  request?: Partial<BuildRequest>,
): Promise<Diagnostic[]> {
  try {
    await buildFolder(folder, request);
  } catch (error) {
    assert.ok(FlashError.is(error), String((error as Error).stack));
    assert.equal(error.code, "BUILD_FAILED");
    return error.details?.diagnostics as Diagnostic[];
  }
  return assert.fail("the project builds");
}

export function endpointOf({ manifest }: BuildResult, name: string): EndpointManifest {
  const found = manifest.endpoints.find((endpoint) => endpoint.name === name);
  return (
    found ??
    assert.fail(`no endpoint ${name} in ${manifest.endpoints.map((one) => one.name).join(", ")}`)
  );
}

export function onlyFunction(result: BuildResult, name: string): FunctionManifest {
  const { functions } = endpointOf(result, name);
  assert.equal(functions.length, 1);
  return functions[0] ?? assert.fail();
}

/** A test over a table of cases, each with a sentence of its own. */
export function eachCase<T>(
  cases: Readonly<Record<string, T>>,
  run: (one: T) => Promise<void>,
): void {
  for (const [title, one] of Object.entries(cases)) void test(title, () => run(one));
}
