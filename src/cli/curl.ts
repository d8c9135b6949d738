/** curl lines for deployed endpoints: complete, with a body that fits, ready to be pasted. */

import { Binder } from "../contract/binder.ts";
import { toText, toTexts } from "../contract/carry.ts";
import type { EndpointDocument } from "../contract/control.ts";
import type { EndpointManifest, FunctionManifest, Parameter } from "../contract/manifest.ts";
import { fillPath, type Route } from "../contract/routes.ts";
import { sampleObject, sampleValue } from "../contract/sample.ts";

/** How the key gets into the line: a shell expression, since a key on a screen is a key lost. */
export const LOCAL_KEY = "$(npx flash token)";
export const REMOTE_KEY = "$FLASH_API_KEY";

/** One line for a queue endpoint; `/ping` and one line for each route of a load-balanced one. */
export function curlLines(
  document: EndpointDocument,
  manifest: EndpointManifest,
  key: string,
): string[] {
  const authorization = `-H "Authorization: Bearer ${key}"`;
  if (manifest.kind === "qb") {
    const body = queueBody(manifest);
    return [`curl -X POST ${document.url}/runsync ${authorization} ${jsonBody(body)}`];
  }
  const ping = `curl ${document.url}/ping ${authorization}`;
  const routes = manifest.functions.flatMap((one) =>
    one.route === undefined
      ? []
      : [routeLine(one, { url: document.url, route: one.route, authorization })],
  );
  return [ping, ...routes];
}

/** The body of `/runsync` for the endpoint's first function. */
export function queueBody(manifest: Pick<EndpointManifest, "form" | "functions">): {
  input: Record<string, unknown>;
} {
  const [first] = manifest.functions;
  if (first === undefined) return { input: {} };
  const schema = new Binder(first).bodySchema();
  const input = schema === undefined ? {} : asObject(sampleValue(schema, first.name));
  // A class with several methods is told which one.
  const isChoice = manifest.form === "class" && manifest.functions.length > 1;
  return { input: isChoice ? { method: first.name, ...input } : input };
}

function routeLine(
  one: FunctionManifest,
  at: { url: string; route: Route; authorization: string },
): string {
  const { url, route, authorization } = at;
  const binder = new Binder(one, route);
  const path: Record<string, string> = {};
  const query: [string, string][] = [];
  for (const { parameter, source } of binder.sources()) {
    const { name, schema, required } = parameter;
    if (source === "path") path[name] = sampleText(parameter);
    else if (source === "query" && required) {
      for (const text of toTexts(sampleValue(schema, name), schema)) query.push([name, text]);
    }
  }
  const search = query.length === 0 ? "" : `?${new URLSearchParams(query).toString()}`;
  const address = shellQuote(`${url}${fillPath(route.path, path)}${search}`);
  const method = route.method === "GET" ? [] : [`-X ${route.method}`];
  return ["curl", ...method, address, authorization, ...bodyOf(binder, route)].join(" ");
}

function bodyOf(binder: Binder, route: Route): string[] {
  const form = binder
    .sources()
    .filter(({ source, parameter }) => source === "form" && parameter.required)
    .map(({ parameter }) => {
      const value = parameter.carrier === "bytes" ? "@file" : sampleText(parameter);
      return `-F ${shellQuote(`${parameter.name}=${value}`)}`;
    });
  if (form.length > 0) return form;
  const schema = binder.bodySchema();
  const isBodiless = route.method === "GET" || route.method === "DELETE";
  if (schema === undefined || isBodiless) return [];
  const { single } = binder;
  return [jsonBody(single === undefined ? sampleObject(schema) : sampleValue(schema, single))];
}

function sampleText({ name, schema }: Parameter): string {
  return toText(sampleValue(schema, name), schema);
}

function jsonBody(value: unknown): string {
  return `-H "Content-Type: application/json" -d ${shellQuote(JSON.stringify(value))}`;
}

function asObject(value: unknown): Record<string, unknown> {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : {};
}

/** Unquoted where that means the same, so that lines stay readable. */
function shellQuote(text: string): string {
  return /^[\w./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
