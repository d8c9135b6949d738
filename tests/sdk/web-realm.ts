/**
 * Runs a bundle where nothing exists but the language and the web's standard APIs, as in a browser or
 * an edge worker: no `process`, no `Buffer`, no `require`, timers that are numbers.
 *
 *   node --experimental-vm-modules web-realm.ts <entry>
 */

import { readFileSync } from "node:fs";
import { fileURLToPath, pathToFileURL } from "node:url";
import vm from "node:vm";

const timers = new Map<number, NodeJS.Timeout>();
let lastTimer = 0;

const realm = vm.createContext({
  AbortController,
  AbortSignal,
  Blob,
  DOMException,
  File,
  FormData,
  Headers,
  ReadableStream,
  Request,
  Response,
  TextDecoder,
  TextEncoder,
  URL,
  URLSearchParams,
  atob,
  btoa,
  console,
  crypto,
  fetch,
  performance,
  clearTimeout: (id: number) => clearTimeout(timers.get(id)),
  setTimeout: (run: () => void, ms?: number) => {
    timers.set(++lastTimer, setTimeout(run, ms));
    return lastTimer;
  },
});

const modules = new Map<string, vm.SourceTextModule>();

function load(url: string): vm.SourceTextModule {
  const known = modules.get(url);
  if (known !== undefined) return known;
  const module = new vm.SourceTextModule(readFileSync(fileURLToPath(url), "utf8"), {
    context: realm,
    identifier: url,
    importModuleDynamically: async (specifier) => evaluated(new URL(specifier, url).href),
  });
  modules.set(url, module);
  return module;
}

async function evaluated(url: string): Promise<vm.SourceTextModule> {
  const module = load(url);
  if (module.status === "unlinked") {
    await module.link((specifier, { identifier }) => load(new URL(specifier, identifier).href));
  }
  await module.evaluate();
  return module;
}

const [, , entry = ""] = process.argv;
await evaluated(pathToFileURL(entry).href);
