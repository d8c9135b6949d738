/**
 * From the describing process's report to the project's endpoints: places instead of stacks, names,
 * the files that declare each endpoint, and the overrides of `flash.toml`.
 */

import {
  optionError,
  checkName,
  checkOptions,
  type EndpointKind,
  type EndpointOptions,
} from "../contract/options.ts";
import type { HttpMethod } from "../contract/routes.ts";
import type {
  DescribeReport,
  ReportedEndpoint,
  ReportedExport,
  ReportedFailure,
} from "./describe-report.ts";
import { errorAt, warningAt, type Finding, type Place } from "./diagnostics.ts";
import { adviceFor } from "./esbuild-plugins.ts";
import type { StackMapper } from "./stack.ts";

export interface FoundRoute {
  method: HttpMethod;
  path: string;
  /** Frames of the registering call, innermost first. */
  places: Place[];
  /** Export name, else the function's own name, else `METHOD /path`. */
  functionName: string;
}

export interface FoundEndpoint {
  name: string;
  /** Undefined when neither a function nor a route was given. */
  kind: EndpointKind | undefined;
  form: "function" | "class" | "routes" | "image";
  live: boolean;
  resource: string;
  /** As declared, with the overrides. */
  options: EndpointOptions;
  schemas: ReportedEndpoint["schemas"];
  place: Place | undefined;
  /** Frames of the call that gave the function or class. */
  targetPlaces: Place[];
  /** What the manifest calls the function. */
  functionName: string;
  methods: readonly string[];
  routes: FoundRoute[];
  /** Files whose evaluation declares the endpoint, sorted. */
  files: string[];
}

/** A declaration without a name of its own, and the export that names it. */
export interface DerivedName {
  file: string;
  exportName: string;
  name: string;
}

export interface FoundProject {
  endpoints: FoundEndpoint[];
  derivedNames: DerivedName[];
  findings: Finding[];
}

export type Overrides = (name: string) => Partial<EndpointOptions> | undefined;

export interface CollectOptions {
  mapper: StackMapper;
  overrides: Overrides | undefined;
  /** Where a file imports a package that does not exist. */
  importPlace: (file: string, name: string) => Place | undefined;
  /** The variable that takes what is declared there. */
  nameAt: (place: Place | undefined) => string | undefined;
}

export function collectEndpoints(report: DescribeReport, options: CollectOptions): FoundProject {
  const { mapper, overrides } = options;
  const found: FoundProject = { endpoints: [], derivedNames: [], findings: [] };
  const placeOf = (site: string): Place | undefined => mapper.places(site)[0];
  for (const { message, hint, site, unnamed } of report.mistakes) {
    const names = unnamed.map((one) => options.nameAt(placeOf(one)));
    found.findings.push(errorAt(placeOf(site), nameFunctions(message, names), hint));
  }
  for (const failure of report.failures) found.findings.push(failureFinding(failure, options));
  for (const [index, reported] of report.endpoints.entries()) {
    if (isExistingClient(reported) || isLocalOnly(reported)) continue;
    const exports = report.exports.filter((one) => one.endpoint === index);
    const endpoint = collectOne({ reported, exports, mapper, found });
    if (endpoint === undefined) continue;
    found.endpoints.push(applyOverrides(endpoint, overrides, found.findings));
  }
  return found;
}

/** An arrow function has no name of its own, but what it is exported as says which one is meant. */
function nameFunctions(message: string, names: readonly (string | undefined)[]): string {
  let next = 0;
  return message.replaceAll("'an anonymous function'", (text) => {
    const name = names[next++];
    return name === undefined ? text : `'${name}'`;
  });
}

/** `Endpoint({ id })` talks to something that exists: nothing is built or deployed for it. */
function isExistingClient({ kind, options }: ReportedEndpoint): boolean {
  return kind === "client" && options.image === undefined;
}

/** All that it has runs where it is called: nothing is left to deploy. */
function isLocalOnly({ hasLocal, form, routes }: ReportedEndpoint): boolean {
  return hasLocal === true && form === undefined && routes.length === 0;
}

interface Collecting {
  reported: ReportedEndpoint;
  exports: readonly ReportedExport[];
  mapper: StackMapper;
  found: FoundProject;
}

function collectOne({ reported, exports, mapper, found }: Collecting): FoundEndpoint | undefined {
  const places = mapper.places(reported.site);
  const targetPlaces = reported.targetSite === undefined ? [] : mapper.places(reported.targetSite);
  const own = preferred(
    exports.filter(({ route }) => route === undefined),
    places.at(-1)?.file,
  );
  const name =
    reported.name ?? own?.name ?? (reported.targetName === "" ? undefined : reported.targetName);
  if (name === undefined) {
    // An endpoint that was refused while declared has told its mistake already.
    if (reported.form !== undefined) found.findings.push(nameless(targetPlaces[0] ?? places[0]));
    return undefined;
  }
  // A name that the code gives is checked by the SDK.
  const wrong = reported.name === undefined ? checkName(name) : undefined;
  if (wrong !== undefined) {
    const hint = 'Give the endpoint a name of its own: Endpoint({ name: "analyze" }, ...).';
    found.findings.push(errorAt(targetPlaces[0] ?? places[0], `name ${wrong}`, hint));
  }
  if (reported.name === undefined && own !== undefined) {
    found.derivedNames.push({ file: own.file, exportName: own.name, name });
  }
  const routes = reported.routes.map((route, index): FoundRoute => {
    const routePlaces = mapper.places(route.site);
    const exported = preferred(
      exports.filter((one) => one.route === index),
      routePlaces.at(-1)?.file,
    );
    const { method, path, functionName } = route;
    const called = exported?.name ?? (functionName === "" ? `${method} ${path}` : functionName);
    return { method, path, places: routePlaces, functionName: called };
  });
  const isImage = reported.options.image !== undefined && reported.kind === "client";
  return {
    name,
    kind: isImage ? "qb" : (reported.kind as EndpointKind | undefined),
    form: isImage ? "image" : (reported.form ?? "routes"),
    live: reported.live,
    resource: reported.resource,
    options: reported.options,
    schemas: reported.schemas,
    place: places[0],
    targetPlaces,
    functionName: own?.name ?? (reported.targetName === "" ? name : reported.targetName),
    methods: reported.methods,
    routes,
    files: declaringFiles([places, targetPlaces, ...routes.map((route) => route.places)]),
  };
}

/** The outermost frame of a declaring call is the module whose evaluation led to it. */
function declaringFiles(stacks: readonly (readonly Place[])[]): string[] {
  const files = stacks.flatMap((places) => places.at(-1)?.file ?? []);
  return [...new Set(files)].sort();
}

/** The declaring file's export names a thing; one that passes it on does only when that has none. */
function preferred(
  exports: readonly ReportedExport[],
  file: string | undefined,
): ReportedExport | undefined {
  const named = exports.filter(({ name }) => name !== "default");
  return named.find((one) => one.file === file) ?? named[0];
}

function nameless(place: Place | undefined): Finding {
  return errorAt(
    place,
    "The endpoint has no name: it has no name option, is not exported under a name, and its function is anonymous.",
    'Export it, as in `export const analyze = Endpoint(...)`, or give it one: Endpoint({ name: "analyze" }, ...).',
  );
}

/** What `flash.toml` says about an endpoint wins, and is checked like what the code says. */
function applyOverrides(
  endpoint: FoundEndpoint,
  overrides: Overrides | undefined,
  findings: Finding[],
): FoundEndpoint {
  const over = overrides?.(endpoint.name);
  if (over === undefined) return endpoint;
  const options = { ...endpoint.options, ...over };
  // Choosing the other hardware replaces the code's choice rather than contradicting it.
  if (over.cpu !== undefined && over.gpu === undefined) delete options.gpu;
  if (over.gpu !== undefined && over.cpu === undefined) delete options.cpu;
  if (over.env !== undefined) options.env = { ...endpoint.options.env, ...over.env };
  const before = new Set(
    checkOptions(endpoint.options, endpoint.kind).map(({ message }) => message),
  );
  for (const mistake of checkOptions(options, endpoint.kind)) {
    if (before.has(mistake.message)) continue;
    const { message, hint } = optionError(mistake);
    findings.push(
      errorAt(
        endpoint.place,
        message,
        `The value comes from [endpoints.${endpoint.name}] in flash.toml.${hint === undefined ? "" : ` ${hint}`}`,
      ),
    );
  }
  return { ...endpoint, options };
}

function failureFinding(
  failure: ReportedFailure,
  { mapper, importPlace }: CollectOptions,
): Finding {
  const { file, name, message, stack, describing, fatal } = failure;
  // A process that ends before it imports anything is nobody's fault.
  if (file === "") return errorAt(undefined, `The project cannot be evaluated: ${message}`);
  const place = mapper.places(stack)[0] ?? { file, line: 1, column: 1 };
  if (describing) {
    return warningAt(
      place,
      `${file} calls an endpoint while the project is built; the call was not made.`,
      fatal
        ? "What the file declares after that call is not seen. Calls belong into functions, or into a script of their own."
        : "Calls belong into functions, or into a script of their own.",
    );
  }
  if (!fatal) {
    return warningAt(place, `${file} failed after it was loaded: ${name}: ${message}`);
  }
  const missing = /^Cannot find (?:package|module) '([^']+)'/.exec(message)?.[1];
  if (missing !== undefined) {
    return errorAt(
      importPlace(file, missing) ?? place,
      `Failed to load: ${file}: Cannot import module '${missing}'`,
      adviceFor(missing),
    );
  }
  const isTimeout = message.startsWith("import of ");
  return errorAt(
    place,
    isTimeout ? `Failed to load: ${message}` : `Failed to load: ${file}: ${name}: ${message}`,
    isTimeout
      ? "Move work that waits or blocks into the function, or into the class's init()."
      : adviceForThrown(message),
  );
}

function adviceForThrown(message: string): string {
  // Python makes an object without it, and so do ports of its programs.
  const type = /^Class constructor (\w+) cannot be invoked without 'new'/.exec(message)?.[1];
  return type === undefined
    ? "If this is a script that only uses endpoints, keep it out of the build: import them from your own files there, and export nothing."
    : `Write 'new ${type}(…)'.`;
}
