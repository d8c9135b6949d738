/** Small hand-written artifacts: a manifest and a bundle that writes to the registry itself. */

import path from "node:path";
import type {
  EndpointManifest,
  FunctionManifest,
  Manifest,
  Parameter,
} from "../../src/contract/manifest.ts";
import { MANIFEST_FILE, MANIFEST_VERSION } from "../../src/contract/manifest.ts";
import { resolveOptions, type EndpointOptions } from "../../src/contract/options.ts";
import type { Route } from "../../src/contract/routes.ts";
import type { JsonSchema } from "../../src/contract/schema.ts";
import { temporaryFolder, writeFiles, type Owner } from "../support/temp.ts";

/** What every bundle starts with; `declaration`, `route` and `queue` are for the code that follows. */
export const PRELUDE = `
import { AsyncLocalStorage } from "node:async_hooks";
const registry = globalThis[Symbol.for("runpod-flash.registry")];
const context = () => globalThis[Symbol.for("runpod-flash.context")].getStore();
const declare = (fields) => {
  const declaration = { name: registry.endpoint, kind: "qb", options: {}, resource: "Endpoint",
    live: false, target: undefined, targetSite: "", routes: [], site: "", ...fields };
  registry.declarations.push(declaration);
  return declaration;
};
let api;
const route = (method, path, handler) =>
  (api ??= declare({ kind: "lb" })).routes.push({ method, path, handler, site: "" });
const queue = (handler, options = {}) => declare({ options, target: { form: "function", handler } });
const queueClass = (type, options = {}) => declare({ options, target: { form: "class", type } });
`;

export function parameter(
  name: string,
  schema: JsonSchema = {},
  more: Partial<Parameter> = {},
): Parameter {
  return { name, schema, required: true, carrier: "value", ...more };
}

export function signature(
  name: string,
  parameters: Parameter[] = [],
  more: Partial<FunctionManifest> = {},
): FunctionManifest {
  return { name, parameters, streams: false, checked: true, ...more };
}

/** `"GET /users/{id}"` as a function of a load-balanced endpoint. */
export function routeOf(
  text: string,
  parameters: Parameter[] = [],
  more: Partial<FunctionManifest> = {},
): FunctionManifest {
  const [method, template] = text.split(" ");
  return signature(text, parameters, {
    route: { method: method as Route["method"], path: template ?? "/" },
    ...more,
  });
}

export interface ArtifactOptions {
  kind: "qb" | "lb";
  form?: EndpointManifest["form"];
  functions: FunctionManifest[];
  /** The bundle's code after {@link PRELUDE}. */
  code: string;
  name?: string;
  options?: EndpointOptions;
  /** More files of the artifact: path → text. */
  files?: Record<string, string>;
}

/** Writes an artifact of one endpoint and returns its folder. */
export function writeArtifact(owner: Owner, artifact: ArtifactOptions): string {
  const { kind, functions, code, name = "demo", options = {} } = artifact;
  const folder = temporaryFolder(owner, "flash-artifact");
  const bundle = path.posix.join("endpoints", name, "index.mjs");
  const endpoint: EndpointManifest = {
    name,
    kind,
    form: artifact.form ?? (kind === "lb" ? "routes" : "function"),
    live: false,
    resource: "Endpoint",
    options: resolveOptions(options, kind, name),
    functions,
    files: ["src/demo.ts"],
    bundle,
    calls: [],
    fingerprint: "0",
    packages: {},
  };
  const manifest: Manifest = {
    version: MANIFEST_VERSION,
    app: "tests",
    builtWith: "0.0.0-test",
    endpoints: [endpoint],
    fingerprint: "0",
  };
  writeFiles(folder, {
    [MANIFEST_FILE]: JSON.stringify(manifest),
    [bundle]: `${PRELUDE}\n${code}`,
    ...artifact.files,
  });
  return folder;
}
