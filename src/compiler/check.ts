/**
 * Step 4: rules over the whole project. Everything that is wrong is found; nothing stops at the first
 * mistake. What the SDK has found while describing is not looked for again.
 */

import type { FunctionManifest } from "../contract/manifest.ts";
import { isObjectSchema } from "../contract/schema.ts";
import { conflictKey, pathParameters } from "../contract/routes.ts";
import { errorAt, warningAt, type Finding, type Place } from "./diagnostics.ts";
import type { FoundEndpoint } from "./endpoints.ts";

/** An endpoint with the signatures of its functions. */
export interface CheckedEndpoint extends FoundEndpoint {
  functions: FunctionManifest[];
  /** True when no function of a queue endpoint is asynchronous. */
  isSynchronous: boolean;
}

/** More jobs at once than this deserve a second thought. Source: the original. */
const MANY_JOBS = 100;

/**
 * `refusedIn` are the files in which the SDK has refused something: an endpoint there may be empty
 * only because its one route was wrong.
 */
export function checkProject(
  endpoints: readonly CheckedEndpoint[],
  refusedIn: ReadonlySet<string>,
): Finding[] {
  const mayBeEmpty = ({ files }: CheckedEndpoint): boolean =>
    files.some((file) => refusedIn.has(file));
  return [
    ...checkNames(endpoints),
    ...endpoints.flatMap((endpoint) => [
      ...(mayBeEmpty(endpoint) ? [] : checkContent(endpoint)),
      ...checkConflicts(endpoint),
      ...endpoint.functions.flatMap((one, index) => checkFunction(endpoint, one, index)),
      ...checkConcurrency(endpoint),
    ]),
  ];
}

function checkNames(endpoints: readonly CheckedEndpoint[]): Finding[] {
  const groups = new Map<string, CheckedEndpoint[]>();
  for (const endpoint of endpoints) {
    // Names become host names and file names, which do not tell upper from lower case.
    const key = endpoint.name.toLowerCase();
    groups.set(key, [...(groups.get(key) ?? []), endpoint]);
  }
  return [...groups.values()].flatMap((group) => {
    const [first, ...others] = group;
    return first === undefined ? [] : others.map((other) => nameClash(first, other, group));
  });
}

function nameClash(
  first: CheckedEndpoint,
  other: CheckedEndpoint,
  group: readonly CheckedEndpoint[],
): Finding {
  const { name } = other;
  const place = other.place;
  if (first.name !== name) {
    return errorAt(
      place,
      `endpoint '${name}' differs from '${first.name}' only in the case of letters. each endpoint name must be unique across the project.`,
      "Rename one of them.",
    );
  }
  if (first.kind !== other.kind && first.kind !== undefined && other.kind !== undefined) {
    return errorAt(
      place,
      `endpoint '${name}' is declared both as a queue-based and as a load-balanced endpoint (${where(first.place)} and ${where(place)}). each endpoint name must be unique across the project.`,
      "Give the queue-based function and the load-balanced endpoint names of their own.",
    );
  }
  const hint =
    other.kind === "lb"
      ? "Declare the load-balanced endpoint once, export it, and register all its routes on it."
      : "Each queue-based function must have its own unique endpoint name.";
  const files = [...new Set(group.flatMap((one) => one.place?.file ?? []))].sort();
  const text =
    files.length > 1
      ? `endpoint '${name}' is defined in multiple files: ${files.join(", ")}. each endpoint name must be unique across the project.`
      : `endpoint '${name}' is defined more than once in ${files[0] ?? "the project"}. each endpoint name must be unique across the project.`;
  return errorAt(place, text, hint);
}

function checkContent(endpoint: CheckedEndpoint): Finding[] {
  const { name, kind, form, place, targetPlaces, methods } = endpoint;
  if (form === "image") return [];
  if (form === "class" && methods.length === 0) {
    return [
      errorAt(
        targetPlaces[0] ?? place,
        `Resource '${name}' has no functions: the class has no public methods.`,
        "Add a method whose name does not start with '_'.",
      ),
    ];
  }
  if (form !== "routes" || endpoint.routes.length > 0) return [];
  if (kind === "qb") {
    return [
      errorAt(
        place,
        `Resource '${name}' has no functions. Cannot generate a deployed handler without at least one function.`,
        "Give it a function: remote(resource, async (text: string) => ...).",
      ),
    ];
  }
  return [
    errorAt(
      place,
      `Load-balanced endpoints require route decorators: '${name}' has neither a route nor a function.`,
      `Register a route, as in api.get("/health", () => ({ status: "healthy" })), or give the endpoint a function: Endpoint({ name: "${name}" }, async () => ...).`,
    ),
  ];
}

/** Routes that differ in parameter names or a trailing slash only are the same route. */
function checkConflicts({ name, routes }: CheckedEndpoint): Finding[] {
  const seen = new Map<string, string>();
  return routes.flatMap((route) => {
    const key = conflictKey(route);
    const earlier = seen.get(key);
    if (earlier === undefined) {
      seen.set(key, route.functionName);
      return [];
    }
    return [
      errorAt(
        route.places[0],
        `Route conflict detected: ${route.method} ${route.path} defined twice`,
        `'${earlier}' and '${route.functionName}' of endpoint '${name}' have the same method and path. Change one of them.`,
      ),
    ];
  });
}

function checkFunction(endpoint: CheckedEndpoint, one: FunctionManifest, index: number): Finding[] {
  const place = endpoint.routes[index]?.places[0] ?? endpoint.targetPlaces[0] ?? endpoint.place;
  return [
    ...(one.route === undefined ? [] : checkPathParameters(one, one.route, place)),
    ...checkCarriers(one, place),
  ];
}

function checkPathParameters(
  { name, parameters }: FunctionManifest,
  route: NonNullable<FunctionManifest["route"]>,
  place: Place | undefined,
): Finding[] {
  const known = parameters.map((parameter) => parameter.name);
  return pathParameters(route.path).flatMap((wanted) => {
    const parameter = parameters.find((candidate) => candidate.name === wanted);
    if (parameter === undefined) {
      return [
        errorAt(
          place,
          `path parameter '{${wanted}}' of ${route.method} ${route.path} is no parameter of '${name}'`,
          known.length === 0
            ? `Give the function a parameter: (${wanted}: string) => ...`
            : `Its parameters are: ${known.join(", ")}. Names in the path and in the function must be equal.`,
        ),
      ];
    }
    const isScalar =
      parameter.carrier === "value" &&
      parameter.rest !== true &&
      parameter.schema.type !== "array" &&
      !isObjectSchema(parameter.schema, parameter.schema);
    if (isScalar) return [];
    return [
      errorAt(
        place,
        `path parameter '{${wanted}}' of ${route.method} ${route.path} must be a string, number or boolean`,
        `A path segment is one text; '${wanted}' of '${name}' has a type that does not fit into it.`,
      ),
    ];
  });
}

function checkCarriers(
  { name, parameters, route }: FunctionManifest,
  place: Place | undefined,
): Finding[] {
  const hasBody = route === undefined || (route.method !== "GET" && route.method !== "DELETE");
  if (hasBody) return [];
  return parameters
    .filter(({ carrier }) => carrier === "bytes")
    .map((parameter) =>
      errorAt(
        place,
        `parameter '${parameter.name}' of '${name}' takes a file, which a ${route.method} request cannot carry`,
        "Use POST, PUT or PATCH.",
      ),
    );
}

function checkConcurrency(endpoint: CheckedEndpoint): Finding[] {
  const { name, kind, options, place, functionName, isSynchronous } = endpoint;
  const { maxConcurrency } = options;
  if (typeof maxConcurrency !== "number" || maxConcurrency <= 1) return [];
  // Requests beyond it wait at the gateway, whatever the function is.
  if (kind === "lb") return [];
  const findings: Finding[] = [];
  if (isSynchronous) {
    findings.push(
      warningAt(
        place,
        `max_concurrency=${maxConcurrency} set on sync handler '${functionName}'. Only async handlers benefit from concurrent execution. Consider making the handler async.`,
      ),
    );
  }
  if (maxConcurrency > MANY_JOBS) {
    findings.push(
      warningAt(
        place,
        `High max_concurrency=${maxConcurrency} for resource '${name}'. Ensure your handler and GPU can support this level of concurrent execution.`,
      ),
    );
  }
  return findings;
}

function where(place: Place | undefined): string {
  return place === undefined ? "?" : `${place.file}:${place.line}`;
}
