/**
 * Endpoints as an OpenAPI 3.1 document: of one endpoint for the worker, of a whole app for `flash run`
 * and the server. Routes are described through the binder, so the document says what is accepted.
 *
 *   openapi-routes  operations of load-balanced endpoints
 *   openapi-queue   operations of queue endpoints
 *   openapi-parts   what both share
 */

import type { EndpointManifest, FunctionManifest } from "./manifest.ts";
import { optional, PROBLEM, RESPONSES, SCHEMAS, type OpenApiObject } from "./openapi-parts.ts";
import { JOB_SCHEMAS, QUEUE_OPERATIONS, queueOperation } from "./openapi-queue.ts";
import { routeOperation } from "./openapi-routes.ts";
import { conflictKey, type Route } from "./routes.ts";
import { Definitions, type JsonSchema } from "./schema.ts";

export type { OpenApiObject } from "./openapi-parts.ts";

export interface OpenApiInfo {
  title: string;
  version: string;
  description?: string;
  servers?: { url: string; description?: string }[];
  /** What the endpoint's paths start with, such as `/name`. Default: nothing. */
  prefix?: (endpoint: EndpointManifest) => string;
  /** True where no key is needed, as under `flash run` on loopback. */
  isOpen?: boolean;
}

export interface OpenApiDocument extends OpenApiObject {
  openapi: "3.1.0";
  info: OpenApiObject;
  paths: Record<string, Record<string, OpenApiObject>>;
  components: {
    schemas: Record<string, JsonSchema>;
    responses: Record<string, OpenApiObject>;
    securitySchemes?: Record<string, OpenApiObject>;
  };
}

/** The description of these endpoints. Same endpoints, same document, byte for byte. */
export function openApiOf(
  endpoints: readonly EndpointManifest[],
  info: OpenApiInfo,
): OpenApiDocument {
  const writer = new Writer(info, endpoints);
  for (const endpoint of endpoints) writer.add(endpoint);
  return writer.document();
}

class Writer {
  readonly #info: OpenApiInfo;
  readonly #schemas = new Definitions(SCHEMAS);
  readonly #paths: OpenApiDocument["paths"] = {};
  /** Template of each path by its shape: `/users/{id}` and `/users/{uid}` are one path. */
  readonly #templates = new Map<string, string>();
  readonly #operationIds = new Set<string>();
  readonly #tags: readonly { name: string }[];

  constructor(info: OpenApiInfo, endpoints: readonly EndpointManifest[]) {
    this.#info = info;
    this.#tags = endpoints.map(({ name }) => ({ name }));
    // Before any type of the user's: theirs gets another name where it is the same.
    this.#schemas.set("Problem", PROBLEM);
    if (!endpoints.some(({ kind }) => kind === "qb")) return;
    for (const [name, schema] of Object.entries(JOB_SCHEMAS)) this.#schemas.set(name, schema);
  }

  add(endpoint: EndpointManifest): void {
    if (endpoint.kind === "qb") this.#addQueue(endpoint);
    for (const fn of endpoint.functions) {
      if (endpoint.kind === "lb" && fn.route !== undefined) this.#addRoute(endpoint, fn, fn.route);
    }
  }

  document(): OpenApiDocument {
    const { title, version, description, servers, isOpen } = this.#info;
    return {
      openapi: "3.1.0",
      info: { title, version, ...optional({ description }) },
      ...optional({ servers }),
      ...(isOpen === true ? {} : { security: [{ bearer: [] }] }),
      tags: this.#tags,
      paths: this.#paths,
      components: {
        schemas: this.#schemas.all(),
        responses: RESPONSES,
        ...(isOpen === true
          ? {}
          : { securitySchemes: { bearer: { type: "http", scheme: "bearer" } } }),
      },
    };
  }

  #addRoute(endpoint: EndpointManifest, fn: FunctionManifest, route: Route): void {
    const path = `${this.#info.prefix?.(endpoint) ?? ""}${route.path}`;
    const template = this.#template({ method: route.method, path });
    const { summary, description } = fn;
    this.#put(template, route.method.toLowerCase(), {
      operationId: this.#operationId(endpoint, fn.name),
      tags: [endpoint.name],
      ...optional({ summary, description }),
      ...routeOperation({ fn, route, path, template }, this.#schemas),
    });
  }

  #addQueue(endpoint: EndpointManifest): void {
    const base = this.#info.prefix?.(endpoint) ?? "";
    for (const operation of QUEUE_OPERATIONS) {
      this.#put(`${base}${operation.path}`, operation.method, {
        operationId: this.#operationId(endpoint, operation.id),
        tags: [endpoint.name],
        ...queueOperation(operation, endpoint, this.#schemas),
      });
    }
  }

  #put(path: string, method: string, operation: OpenApiObject): void {
    const item = (this.#paths[path] ??= {});
    item[method] ??= operation;
  }

  #template(route: Route): string {
    const shape = conflictKey({ ...route, method: "GET" });
    const known = this.#templates.get(shape);
    if (known === undefined) this.#templates.set(shape, route.path);
    return known ?? route.path;
  }

  #operationId(endpoint: EndpointManifest, name: string): string {
    const isApp = this.#info.prefix !== undefined;
    const plain = (isApp ? `${endpoint.name}_${name}` : name).replaceAll(/[^A-Za-z0-9_.-]+/g, "_");
    let id = plain;
    for (let number = 2; this.#operationIds.has(id); number++) id = `${plain}_${number}`;
    this.#operationIds.add(id);
    return id;
  }
}
