/**
 * From an artifact to the functions of one endpoint: reads the manifest, tells the registry what this
 * process serves, evaluates the endpoint's bundle and finds what it declares.
 */

import { readFileSync } from "node:fs";
import path from "node:path";
import { pathToFileURL } from "node:url";
import { FlashError, reportOf } from "../contract/errors.ts";
import {
  MANIFEST_FILE,
  findEndpoint,
  readManifest,
  type EndpointManifest,
  type FunctionManifest,
  type Manifest,
  type ManifestPart,
} from "../contract/manifest.ts";
import {
  DECLARATION,
  registry,
  type AnyClass,
  type AnyFunction,
  type Declared,
  type EndpointDeclaration,
} from "../contract/registry.ts";
import { conflictKey } from "../contract/routes.ts";
import { Callable } from "./callable.ts";
import { stackStyle, type StackStyle } from "./stack.ts";

/** An endpoint of an artifact, before any of its code has run. */
export interface Served {
  endpoint: EndpointManifest;
  /** Version of the package that built it. */
  version: string;
  bundlePath: string;
  style: StackStyle;
}

export interface ArtifactPlace {
  artifactDir: string;
  endpoint: string;
  /** URL of the running program. */
  runtimeUrl: string;
  /** What the manifest says of the endpoint, when that has been read already. */
  known?: ManifestPart | undefined;
}

/** Makes this process the worker of the endpoint. */
export function openArtifact(place: ArtifactPlace): Served {
  const { artifactDir, endpoint: name, runtimeUrl, known } = place;
  const file = path.join(artifactDir, MANIFEST_FILE);
  let whole: Manifest | undefined;
  // Of a thousand endpoints it is long: read when somebody asks for another endpoint.
  const readWhole = (): Manifest => (whole ??= readManifest(textOf(file), file));
  const endpoint = known?.endpoint ?? findEndpoint(readWhole(), name);
  if (endpoint?.bundle === undefined) {
    const names = readWhole()
      .endpoints.map((one) => one.name)
      .join(", ");
    throw new FlashError(
      "INVALID_MANIFEST",
      endpoint === undefined
        ? `The manifest at ${file} has no endpoint '${name}'. It has: ${names}.`
        : `Endpoint '${name}' runs the image ${endpoint.options.image ?? ""}; it has no code to serve here.`,
    );
  }
  const shared = registry();
  shared.mode = "serve";
  shared.endpoint = name;
  Object.defineProperty(shared, "manifest", {
    configurable: true,
    enumerable: true,
    get: readWhole,
    set: (manifest: Manifest | undefined) => {
      Object.defineProperty(shared, "manifest", {
        value: manifest,
        writable: true,
        configurable: true,
      });
    },
  });
  const bundlePath = path.join(artifactDir, endpoint.bundle);
  return {
    endpoint,
    version: known?.builtWith ?? readWhole().builtWith,
    bundlePath,
    style: stackStyle(runtimeUrl, bundlePath),
  };
}

/** Evaluates the bundle and returns the declarations of its endpoint. */
export async function importDeclarations(served: Served): Promise<EndpointDeclaration[]> {
  const { endpoint, bundlePath } = served;
  let exports: Record<string, unknown>;
  const shared = registry();
  shared.isLoading = true;
  try {
    exports = (await import(pathToFileURL(bundlePath).href)) as Record<string, unknown>;
  } catch (cause) {
    const { name, message } = reportOf(cause);
    throw new FlashError(
      "WORKER_START_FAILED",
      `The code of '${endpoint.name}' cannot be loaded: ${name}: ${message}`,
      { cause },
    );
  } finally {
    shared.isLoading = false;
  }
  nameDeclarations(exports);
  const { declarations } = registry();
  const named = declarations.filter((one) => one.name === endpoint.name && one.kind !== "client");
  if (named.length > 0) return named;
  // The compiler saw one endpoint here, so the one that cannot be named is it.
  const unnamed = declarations.filter((one) => one.name === undefined && one.kind !== "client");
  const [only] = unnamed;
  if (only === undefined || unnamed.length > 1) throw undeclared(endpoint);
  only.name = endpoint.name;
  return [only];
}

/** The function or class of a queue endpoint. */
export function targetOf(
  served: Served,
  declarations: readonly EndpointDeclaration[],
): { handler: AnyFunction; type?: undefined } | { type: AnyClass; handler?: undefined } {
  const target = declarations.find((one) => one.target !== undefined)?.target;
  if (target === undefined) throw undeclared(served.endpoint);
  return target.form === "class" ? { type: target.type } : { handler: target.handler };
}

/** The functions of a load-balanced endpoint, in the manifest's order. */
export function routesOf(
  served: Served,
  declarations: readonly EndpointDeclaration[],
): { route: NonNullable<FunctionManifest["route"]>; callable: Callable }[] {
  return served.endpoint.functions.flatMap((manifest) => {
    const { route } = manifest;
    if (route === undefined) return [];
    const key = conflictKey(route);
    const owner = declarations.find((one) => one.routes.some((own) => conflictKey(own) === key));
    const declared = owner?.routes.find((own) => conflictKey(own) === key);
    if (owner === undefined || declared === undefined) {
      throw new FlashError(
        "WORKER_START_FAILED",
        `'${served.endpoint.name}' was built with the route ${route.method} ${route.path}, but its code no longer declares it.`,
        { hint: "Declare routes unconditionally: what they depend on differs where they run." },
      );
    }
    const { handler } = declared;
    return [
      {
        route,
        callable: new Callable({ manifest, handler, options: owner.options, style: served.style }),
      },
    ];
  });
}

/** Gives declarations without a name the one the compiler derived: of the export, function or class. */
function nameDeclarations(exports: Record<string, unknown>): void {
  const shared = registry();
  const { declarations } = shared;
  const isEndpoint = (name: string): boolean =>
    name === shared.endpoint ||
    (shared.manifest !== undefined && findEndpoint(shared.manifest, name) !== undefined);
  for (const [name, value] of Object.entries(exports)) {
    const declaration = declarationOf(value);
    if (declaration === undefined || declaration.name !== undefined) continue;
    if (declarations.includes(declaration) && isEndpoint(name)) declaration.name = name;
  }
  for (const declaration of declarations) {
    const { target } = declaration;
    if (declaration.name !== undefined || target === undefined) continue;
    const { name } = target.form === "class" ? target.type : target.handler;
    if (isEndpoint(name)) declaration.name = name;
  }
}

function declarationOf(value: unknown): EndpointDeclaration | undefined {
  if (value === null || (typeof value !== "object" && typeof value !== "function"))
    return undefined;
  return (value as Partial<Declared>)[DECLARATION]?.endpoint;
}

function undeclared(endpoint: EndpointManifest): FlashError {
  return new FlashError(
    "WORKER_START_FAILED",
    `The code of '${endpoint.name}' was evaluated, but it does not declare that endpoint.`,
    { hint: "Run 'flash build' again: manifest and code are not of one build." },
  );
}

function textOf(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new FlashError("INVALID_MANIFEST", `Manifest not found at ${file}`, {
      cause,
      hint: "Run 'flash build', and set FLASH_ARTIFACT_DIR to the folder of the unpacked artifact.",
    });
  }
}
