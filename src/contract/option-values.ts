/** Values of options, as JavaScript without types may hand them in: what they are, in code and in words. */

import { closest } from "./names.ts";
import type { EndpointOptions } from "./option-types.ts";

/** Options as JavaScript without types may hand them in. */
export type Given = Readonly<Record<string, unknown>>;
/** Notes a mistake. */
export type Note = (option: string, message: string, hint?: string) => void;

export type Test = (value: unknown) => boolean;

export const WHOLE_FROM_0: Test = (value) => isWhole(value, 0, Infinity);
export const WHOLE_FROM_1: Test = (value) => isWhole(value, 1, Infinity);
export const TEXT: Test = (value) => typeof value === "string" && value.trim() !== "";

/** The keys that `label` does not have, each with what to say about it. */
export function unknownKeys(
  label: string,
  given: object,
  known: readonly string[],
): [key: string, message: string][] {
  const unknown = Object.keys(given).filter((key) => !known.includes(key));
  return unknown.map((key) => {
    const camelCase = key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const near = closest(camelCase, known);
    const advice = near === undefined ? "" : ` (Did you mean '${near}'?)`;
    return [key, `${label}() got unknown option: '${key}'${advice}`];
  });
}

/** An object that is no list, and not null. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return describe(value) === "object";
}

export function isWithin(value: unknown, least: number, most: number): boolean {
  return Number.isFinite(value) && (value as number) >= least && (value as number) <= most;
}

export function isWhole(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && isWithin(value, least, most);
}

export function valuesOf(constants: Readonly<Record<string, string>>): string[] {
  return Object.values(constants);
}

/** `typeof`, with words of their own for null and lists. */
export function describe(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

export function show(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (typeof value === "function") return "a function";
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return describe(value);
  }
}

/** `[min, max]` of the option; the default is `[0, 1]`. */
export function workersOf(workers: EndpointOptions["workers"]): readonly [number, number] {
  if (workers === undefined) return [0, 1];
  return typeof workers === "number" ? [0, workers] : workers;
}

/** One value, or a list of them, as a list. */
export function listOf<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? (value as readonly T[]) : [value as T];
}

/** `eu_ro_1` and `EU-RO-1` are the same data centre. */
export function dataCenterId(name: string): string {
  return name.toUpperCase().replaceAll("_", "-");
}
