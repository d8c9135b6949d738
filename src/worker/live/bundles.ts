/**
 * The bundles that a live worker has been sent. Each is written to a folder of its own and imported once:
 * its top level runs once, its state stays, and another digest is another module.
 *
 *   <temporary folder>/<n>/sdk.mjs                          → the artifact's
 *   <temporary folder>/<n>/endpoints/<name>/index.mjs       as it was sent
 *   <temporary folder>/<n>/endpoints/<name>/node_modules    → the artifact's packages
 */

import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdir, mkdtemp, rm, symlink, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { FlashError, reportOf } from "../../contract/errors.ts";
import { canonical } from "../../contract/json.ts";
import { LIMITS } from "../../contract/limits.ts";
import { BUNDLE_ENTRY, bundleBytes, bundleTooLarge, type LiveBundle } from "../../contract/live.ts";
import { SDK_FILE } from "../../contract/manifest.ts";
import { registry, type EndpointDeclaration } from "../../contract/registry.ts";
import { importDeclarations, type Served } from "../program.ts";
import type { StackStyle } from "../stack.ts";

/** A bundle whose code has run. */
export interface LoadedBundle {
  declarations: readonly EndpointDeclaration[];
  style: StackStyle;
  /** Instances of its classes that were created. */
  instances: Set<object>;
}

export class Bundles {
  readonly #served: Served;
  readonly #loaded = new Map<string, Promise<LoadedBundle>>();
  #folder: Promise<string> | undefined;
  #count = 0;
  /** Declarations are written to one registry: bundles are imported one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(served: Served) {
    this.#served = served;
  }

  /**
   * The code of this bundle; undefined when it has to be sent first. Throws `PAYLOAD_TOO_LARGE`,
   * `INVALID_REQUEST`, and what {@link importDeclarations} throws; the next call then tries again.
   */
  find({ digest, modules }: LiveBundle): Promise<LoadedBundle> | undefined {
    const known = this.#loaded.get(digest);
    if (known !== undefined || modules === undefined) return known;
    checkModules(digest, modules);
    const turn = this.#turn.catch(() => undefined);
    const loading = turn.then(() => this.#load(modules));
    this.#turn = loading;
    this.#loaded.set(digest, loading);
    loading.catch(() => this.#loaded.delete(digest));
    return loading;
  }

  /** Runs the `close()` of every instance and removes the files. */
  async close(): Promise<void> {
    const settled = await Promise.allSettled(this.#loaded.values());
    const bundles = settled.flatMap((one) => (one.status === "fulfilled" ? [one.value] : []));
    for (const instance of bundles.flatMap(({ instances }) => [...instances])) {
      const { close } = instance as { close?: () => unknown };
      if (typeof close === "function") await close.call(instance);
    }
    if (this.#folder !== undefined) await rm(await this.#folder, { recursive: true, force: true });
  }

  async #load(modules: Readonly<Record<string, string>>): Promise<LoadedBundle> {
    const folder = await this.#write(modules);
    const bundlePath = path.join(folder, BUNDLE_ENTRY);
    const style = { ...this.#served.style, bundleDir: `${folder}${path.sep}` };
    registry().declarations = [];
    return {
      declarations: await importDeclarations({ ...this.#served, bundlePath, style }),
      style,
      instances: new Set(),
    };
  }

  async #write(modules: Readonly<Record<string, string>>): Promise<string> {
    const { bundlePath, endpoint } = this.#served;
    this.#folder ??= mkdtemp(path.join(os.tmpdir(), "flash-live-"));
    const root = path.join(await this.#folder, String(++this.#count));
    const folder = path.join(root, "endpoints", endpoint.name);
    await mkdir(folder, { recursive: true });
    for (const [name, text] of Object.entries(modules)) {
      const file = path.join(folder, name);
      await mkdir(path.dirname(file), { recursive: true });
      await writeFile(file, text);
    }
    const own = path.dirname(bundlePath);
    await symlink(path.join(own, "..", "..", SDK_FILE), path.join(root, SDK_FILE));
    const packages = path.join(own, "node_modules");
    if (existsSync(packages)) await symlink(packages, path.join(folder, "node_modules"));
    return folder;
  }
}

function checkModules(digest: string, modules: Readonly<Record<string, string>>): void {
  const bytes = bundleBytes(modules);
  if (bytes > LIMITS.liveBundleBytes) throw bundleTooLarge(bytes);
  for (const name of Object.keys(modules)) {
    const isInside = !path.isAbsolute(name) && !path.normalize(name).startsWith("..");
    if (isInside) continue;
    throw new FlashError("INVALID_REQUEST", `module path escapes materialization dir: ${name}`);
  }
  if (modules[BUNDLE_ENTRY] === undefined) {
    throw new FlashError("INVALID_REQUEST", `The bundle has no ${BUNDLE_ENTRY}.`);
  }
  if (createHash("sha256").update(canonical(modules)).digest("hex") !== digest) {
    throw new FlashError("INVALID_REQUEST", "The bundle arrived damaged: its digest is another.");
  }
}

/** Why a bundle did not load, in the texts of spec/sdk.md 13.2. */
export function loadFailure(error: unknown, name: string): FlashError {
  if (FlashError.is(error) && error.code !== "WORKER_START_FAILED") return error;
  const cause = FlashError.is(error) ? error.cause : error;
  if (cause === undefined) {
    return new FlashError("NOT_FOUND", `Function '${name}' not found in executed code`, {
      hint: "Its code was evaluated, but does not declare the endpoint.",
    });
  }
  const report = reportOf(cause);
  const text =
    report.name === "SyntaxError"
      ? `Syntax error in function code: ${report.message}`
      : `Error executing function code: ${report.name}: ${report.message}`;
  return new FlashError("WORKER_START_FAILED", text, { cause, details: { error: report } });
}
