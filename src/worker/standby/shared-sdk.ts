/**
 * The SDK of a standby: loaded before it is known whose, and found by the bundle that is imported
 * later, in place of the same file in that bundle's artifact. Reading and compiling it would be the
 * longest part of a cold start.
 */

import { existsSync } from "node:fs";
import { registerHooks } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { SDK_FILE } from "../../contract/manifest.ts";

export class SharedSdk {
  readonly #url: string;
  /** URLs that mean the same file. */
  readonly #copies = new Set<string>();

  /** The SDK beside the running program, loaded; undefined when there is none. */
  static async load(program: string): Promise<SharedSdk | undefined> {
    const file = path.join(path.dirname(program), SDK_FILE);
    if (!existsSync(file)) return undefined;
    const { href } = pathToFileURL(file);
    await import(href);
    return new SharedSdk(href);
  }

  private constructor(url: string) {
    this.#url = url;
    registerHooks({
      resolve: (specifier, context, next) => {
        const found = next(specifier, context);
        return this.#copies.has(found.url) ? { ...found, url: this.#url } : found;
      },
    });
  }

  /** Takes the place of the SDK in this artifact, which has to be the same. */
  standInFor(artifactDir: string): void {
    this.#copies.add(pathToFileURL(path.join(artifactDir, SDK_FILE)).href);
  }
}
