/**
 * Calls as other clients than ours would send them: plain JSON, query text and form data, made by hand
 * from the documented rules and not by the binder that is tested.
 */

import type { NamedCase } from "./project.ts";
import { namesOf, pathOf } from "./project.ts";

export type Kind = "lb" | "qb";

/** A call by parameter name; bytes stay bytes where they are files. */
export interface Named {
  values: Record<string, unknown>;
  /** Name of the parameter that is the whole body, query or input. */
  whole: string | undefined;
}

export interface HttpCall {
  method: string;
  /** Path and query. */
  target: string;
  body?: string | FormData;
}

/** The arguments of a typed call. */
export function namedOf(one: NamedCase, args: readonly unknown[], kind: Kind): Named {
  const names = namesOf(one);
  const isRest = one.names === undefined && one.passes.includes("...");
  const values: Record<string, unknown> = {};
  for (const [index, name] of names.entries()) {
    const isLast = index === names.length - 1;
    const value = isRest && isLast ? args.slice(index) : args[index];
    if (value !== undefined) values[name] = hasFiles(one) ? value : plain(value);
  }
  return { values, whole: wholeOf(one, kind) };
}

/** The one parameter left beside those in the path, when it is an object. */
export function wholeOf(one: NamedCase, kind: Kind): string | undefined {
  const inPath = kind === "lb" ? pathNames(one) : [];
  const free = namesOf(one).filter((name) => !inPath.includes(name));
  return free.length === 1 && free[0] === one.whole ? one.whole : undefined;
}

/** Where a place is in the body or input: the parameter that is the whole has no name there. */
export function wirePlace(place: string, whole: string | undefined): string {
  if (whole === undefined || !place.startsWith(whole)) return place;
  return place.slice(whole.length).replace(/^\./, "");
}

/** The body or input of a call. */
export function bodyOf({ values, whole }: Named): unknown {
  return whole === undefined ? values : (values[whole] ?? {});
}

/** The request of a route. */
export function requestOf(one: NamedCase, named: Named): HttpCall {
  const { method = "POST" } = one;
  const left = { ...named.values };
  let target = pathOf(one);
  for (const name of pathNames(one)) {
    target = target.replace(`{${name}}`, encodeURIComponent(text(left[name])));
    delete left[name];
  }
  const body = bodyOf({ values: left, whole: named.whole }) as Record<string, unknown>;
  if (hasFiles(one)) return { method, target, body: formOf(left) };
  if (!isInQuery(one)) return { method, target, body: JSON.stringify(body) };
  const query = new URLSearchParams(
    Object.entries(body).flatMap(([name, value]) =>
      [value].flat().map((item): [string, string] => [name, text(item)]),
    ),
  ).toString();
  return { method, target: query === "" ? target : `${target}?${query}` };
}

/** GET, and DELETE without a body. */
export function isInQuery({ method, hasDeleteBody }: NamedCase): boolean {
  return method === "GET" || (method === "DELETE" && hasDeleteBody !== true);
}

/** Files only exist in forms, and those only on routes. */
export function hasFiles({ only, takes }: NamedCase): boolean {
  return only === "lb" && takes.includes("Uint8Array");
}

export function pathNames({ path = "" }: NamedCase): string[] {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name);
}

/** A value as JSON has it. */
export function plain(value: unknown): unknown {
  if (value instanceof Date) return value.toISOString();
  if (typeof value === "bigint") return String(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (value instanceof Set) return [...value].map(plain);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, plain(item)]));
}

function text(value: unknown): string {
  return typeof value === "string" ? value : JSON.stringify(value);
}

function formOf(values: Record<string, unknown>): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(values)) {
    for (const item of Array.isArray(value) ? value : [value]) {
      if (item instanceof Uint8Array) form.append(name, new Blob([Uint8Array.from(item)]), "f.bin");
      else form.append(name, text(plain(item)));
    }
  }
  return form;
}
