/**
 * The ways a call can go, and how each tells whether it was accepted: over HTTP to a route, as a job,
 * by our SDK in a script, and as ajv judges it by our OpenAPI document.
 */

import { Ajv2020 } from "ajv/dist/2020.js";
import addFormats from "ajv-formats";
import type { Issue } from "../../src/contract/errors.ts";
import type { OpenApiDocument } from "../../src/contract/openapi.ts";
import type { NamedCase } from "./project.ts";
import { pathOf, routesOf } from "./project.ts";
import { bodyOf, hasFiles, isInQuery, pathNames, requestOf, type Named } from "./wire.ts";

/** How a call has ended. */
export type Verdict =
  | { kind: "accepted"; received: unknown }
  | { kind: "refused"; code: string; issues: Issue[] }
  | { kind: "other"; what: string };

export type Send = (target: string, init: RequestInit) => Promise<Response>;

/** A request to a route; `send` knows where the endpoint is. */
export async function callRoute(send: Send, one: NamedCase, named: Named): Promise<Verdict> {
  const { method, target, body } = requestOf(one, named);
  const response = await send(target, {
    method,
    ...(body === undefined ? {} : { body }),
    ...(typeof body === "string" ? { headers: { "content-type": "application/json" } } : {}),
  });
  const text = await response.text();
  if (response.status === 200) return { kind: "accepted", received: JSON.parse(text) };
  return refusal(response.status, 422, text);
}

/** A job that is waited for. `method` when the endpoint is a class with several. */
export async function callJob(
  send: Send,
  input: unknown,
  method: string | undefined,
): Promise<Verdict> {
  const full = method === undefined ? input : { method, ...(input as object) };
  const response = await send("/runsync?wait=60000", {
    method: "POST",
    body: JSON.stringify({ input: full }),
    headers: { "content-type": "application/json" },
  });
  const text = await response.text();
  if (response.status !== 200) return refusal(response.status, 400, text);
  const job = JSON.parse(text) as { status: string; output?: unknown };
  if (job.status !== "COMPLETED") return { kind: "other", what: text };
  return { kind: "accepted", received: job.output };
}

function refusal(status: number, expected: number, text: string): Verdict {
  if (status !== expected) return { kind: "other", what: `${status} ${text}` };
  const { code, issues = [] } = JSON.parse(text) as { code: string; issues?: Issue[] };
  return { kind: "refused", code, issues };
}

interface Operation {
  parameters?: {
    name: string;
    in: string;
    required: boolean;
    content?: Record<string, unknown>;
  }[];
  requestBody?: { required?: boolean; content: Record<string, unknown> };
}

/**
 * What ajv says about calls, given nothing but a document. In an app's document the paths start with
 * the endpoint's name, in an endpoint's own they do not.
 */
export class DocumentJudge {
  readonly #document: OpenApiDocument;
  readonly #isOfApp: boolean;
  // Without the precision, ajv says that 0.3 is no multiple of 0.1.
  readonly #ajv = new Ajv2020({
    strict: false,
    allErrors: true,
    multipleOfPrecision: 9,
    keywords: ["x-flash-type"],
  });

  constructor(document: OpenApiDocument, of: "app" | "endpoint") {
    this.#document = document;
    this.#isOfApp = of === "app";
    addFormats.default(this.#ajv);
    this.#ajv.addSchema(document, "document");
  }

  /** Complaints about a call of a route; none when it is valid. */
  route(one: NamedCase, named: Named): string[] {
    const path = `${this.#isOfApp ? `/${routesOf(one)}` : ""}${pathOf(one)}`;
    const method = (one.method ?? "POST").toLowerCase();
    const left = { ...named.values };
    const complaints: string[] = [];
    const inPath = Object.fromEntries(pathNames(one).map((name) => [name, left[name]]));
    for (const name of pathNames(one)) delete left[name];
    const body = bodyOf({ values: left, whole: named.whole }) as Record<string, unknown>;
    // OpenAPI has no body on DELETE: there the query is described, which takes the same values.
    const isQuery = isInQuery(one) || method === "delete";
    complaints.push(...this.#parameters(path, method, isQuery ? { ...body, ...inPath } : inPath));
    if (isQuery) return complaints;
    const shown = hasFiles(one)
      ? Object.fromEntries(Object.keys(left).map((key) => [key, fieldOf(left[key])]))
      : body;
    return [...complaints, ...this.#body(path, method, shown)];
  }

  /** Complaints about the body of a job's request. */
  job(endpoint: string, input: unknown, method: string | undefined): string[] {
    const full = method === undefined ? input : { method, ...(input as object) };
    return this.#body(`/${endpoint}/runsync`, "post", { input: full });
  }

  #parameters(path: string, method: string, values: Record<string, unknown>): string[] {
    const { parameters = [] } = this.#operation(path, method);
    return parameters.flatMap(({ name, required, content }, index) => {
      const pointer = [path, method, "parameters", String(index)];
      // An object that is the whole query is described as one parameter.
      const isWhole = !(name in values) && parameters.length === 1 && !required;
      const value = isWhole ? values : values[name];
      if (value === undefined) return required ? [`${name} is required`] : [];
      return this.#judge([...pointer, ...schemaPointer(content)], value);
    });
  }

  #body(path: string, method: string, value: unknown): string[] {
    const { requestBody } = this.#operation(path, method);
    if (requestBody === undefined)
      return Object.keys(value as object).map((key) => `${key} is not described`);
    const pointer = [path, method, "requestBody", ...schemaPointer(requestBody.content)];
    return this.#judge(pointer, value);
  }

  #operation(path: string, method: string): Operation {
    const found = this.#document.paths[path]?.[method];
    if (found === undefined) throw new Error(`The document has no ${method} ${path}`);
    return found;
  }

  #judge(pointer: readonly string[], value: unknown): string[] {
    const parts = ["paths", ...pointer].map((part) =>
      encodeURIComponent(part.replaceAll("~", "~0").replaceAll("/", "~1")),
    );
    const validate = this.#ajv.getSchema(`document#/${parts.join("/")}`);
    if (validate === undefined)
      throw new Error(`The document has no schema at ${pointer.join(" ")}`);
    if (validate(value) === true) return [];
    return [this.#ajv.errorsText(validate.errors)];
  }
}

function schemaPointer(content: Record<string, unknown> | undefined): string[] {
  if (content === undefined) return ["schema"];
  return ["content", Object.keys(content)[0] ?? "", "schema"];
}

/** A file of a form is text to JSON Schema. */
function fieldOf(value: unknown): unknown {
  if (value instanceof Uint8Array) return "";
  return Array.isArray(value) ? value.map(fieldOf) : value;
}
