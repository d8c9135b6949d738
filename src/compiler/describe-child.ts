/**
 * The process in which a project is evaluated. Apart from the compiler, because user code may block,
 * exit, leave handles open or change globals. Talks over IPC only; see `describe-report.ts`.
 */

import { FlashError } from "../contract/errors.ts";
import { publicMethods } from "../contract/method-names.ts";
import type { EndpointOptions } from "../contract/options.ts";
import {
  DECLARATION,
  registry,
  type Declared,
  type EndpointDeclaration,
} from "../contract/registry.ts";
import type { JsonSchema } from "../contract/schema.ts";
import type {
  ChildMessage,
  DescribeFile,
  DescribeReport,
  ReportedEndpoint,
  ReportedExport,
  ReportedFailure,
} from "./describe-report.ts";

/** Deep enough to see through a project's own declaring functions. */
const STACK_FRAMES = 50;

const exit = process.exit.bind(process);
const failures: ReportedFailure[] = [];
let current = "";

process.setSourceMapsEnabled(false);
Error.stackTraceLimit = STACK_FRAMES;
process.exit = (code) => {
  throw new Error(`process.exit(${code ?? ""}) was called while the module was loaded`);
};
process.on("unhandledRejection", (error) => failures.push(failureOf(current, error, false)));
process.on("uncaughtException", (error) => failures.push(failureOf(current, error, false)));
process.on("disconnect", () => exit(1));
registry().mode = "describe";
// Every module imports the SDK, and this process may be ready before there is one.
const ready = import(process.argv[2] ?? "").catch(() => undefined);
process.once("message", (files: DescribeFile[]) => {
  void ready
    .then(() => describe(files))
    .then((report) => send({ type: "report", report }, () => exit(0)));
});

async function describe(files: readonly DescribeFile[]): Promise<DescribeReport> {
  const { declarations, mistakes } = registry();
  registry().mode = "describe";
  const modules: [file: string, module: object][] = [];
  for (const { file, url } of files) {
    current = file;
    send({ type: "importing", file });
    try {
      modules.push([file, (await import(url)) as object]);
    } catch (error) {
      failures.push(failureOf(file, error, true));
    }
    // A rejection that nobody handles is reported one turn later.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return {
    endpoints: declarations.map(endpointOf),
    mistakes: mistakes.map(({ error: { message, hint }, site, routes = [] }) => ({
      message,
      hint,
      site,
      unnamed: routes.filter(({ handler }) => handler.name === "").map(({ site }) => site),
    })),
    exports: modules.flatMap(([file, module]) => exportsOf(file, module, declarations)),
    failures,
  };
}

function send(message: ChildMessage, done?: () => void): void {
  process.send?.(message, undefined, undefined, () => done?.());
}

function endpointOf(declaration: EndpointDeclaration): ReportedEndpoint {
  const { name, kind, resource, live, site, targetSite, target, options } = declaration;
  const { input, output, ...others } = options as Record<string, unknown>;
  return {
    name,
    kind,
    resource,
    live,
    site,
    targetSite,
    ...(declaration.hasLocal === true ? { hasLocal: true } : {}),
    options: portable(others) as EndpointOptions,
    schemas: {
      ...(input === undefined ? {} : { input: describeSchema(input, "input") }),
      ...(output === undefined ? {} : { output: describeSchema(output, "output") }),
    },
    form: target?.form,
    targetName:
      target === undefined ? "" : (target.form === "class" ? target.type : target.handler).name,
    methods: target?.form === "class" ? publicMethods(target.type) : [],
    routes: declaration.routes.map(({ handler, ...route }) => ({
      ...route,
      functionName: handler.name,
    })),
  };
}

/** Plain data for structured clone; instances become their own fields, functions nothing. */
function portable(value: unknown, depth = 0): unknown {
  if (typeof value === "function" || typeof value === "symbol" || depth > 16) return undefined;
  if (typeof value !== "object" || value === null || value instanceof Date) return value;
  if (Array.isArray(value)) return value.map((item) => portable(item, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, portable(item, depth + 1)]),
  );
}

/** Asks a Standard Schema for its JSON Schema; `{}` when it has none. */
function describeSchema(schema: unknown, side: "input" | "output"): JsonSchema {
  try {
    const { jsonSchema } = (schema as { "~standard": { jsonSchema?: SchemaDescriber } })[
      "~standard"
    ];
    const described = jsonSchema?.[side]({ target: "draft-2020-12" }) ?? {};
    const { $schema: _, ...rest } = described;
    return JSON.parse(JSON.stringify(rest)) as JsonSchema;
  } catch {
    // Transforms and the like have no JSON Schema; the schema itself still validates in the worker.
    return {};
  }
}

/** The optional part of Standard Schema that describes itself. */
type SchemaDescriber = Record<
  "input" | "output",
  (options: { target: string }) => Record<string, unknown>
>;

function exportsOf(
  file: string,
  module: object,
  declarations: readonly EndpointDeclaration[],
): ReportedExport[] {
  return Object.entries(module).flatMap(([name, value]) => {
    const declared = declaredBy(value);
    const endpoint = declared === undefined ? -1 : declarations.indexOf(declared.endpoint);
    if (declared === undefined || endpoint === -1) return [];
    const route = declared.route && declared.endpoint.routes.indexOf(declared.route);
    return [{ file, name, endpoint, route: route === -1 ? undefined : route }];
  });
}

function declaredBy(value: unknown): Declared[typeof DECLARATION] | undefined {
  if ((typeof value !== "object" || value === null) && typeof value !== "function")
    return undefined;
  try {
    return (value as Partial<Declared>)[DECLARATION];
  } catch {
    // A user's proxy may refuse to be asked.
    return undefined;
  }
}

function failureOf(file: string, error: unknown, fatal: boolean): ReportedFailure {
  const isError = error instanceof Error;
  return {
    file,
    name: isError ? error.name : "Error",
    message: isError ? error.message : String(error),
    stack: isError ? String(error.stack) : "",
    describing: FlashError.is(error) && error.details?.describing === true,
    fatal,
  };
}
