/**
 * Takes secrets out of text that is kept or shown: the values themselves, as they are and as JSON, URLs
 * and base64 write them, and everything that looks like a key of ours, known or not.
 */

import { REDACTED_LENGTH } from "../../contract/secrets.ts";

/** What is written instead. */
export const REDACTED = "[redacted]";

/** Server keys, API keys and worker secrets: newSecret in kit/ids, key-text. */
const KEYS = /\bflash[kw]?_[A-Za-z0-9_-]{43,49}/g;

export class Redactor {
  readonly #needles: readonly string[];

  constructor(values: Iterable<string>) {
    const needles = new Set<string>();
    for (const value of values) for (const form of formsOf(value)) needles.add(form);
    // The longest first: a secret may be part of another one.
    this.#needles = [...needles].sort((a, b) => b.length - a.length);
  }

  redact(text: string): string {
    let clean = text;
    for (const needle of this.#needles) {
      if (clean.includes(needle)) clean = clean.replaceAll(needle, REDACTED);
    }
    return clean.includes("flash") ? clean.replaceAll(KEYS, REDACTED) : clean;
  }

  /** The same for every text within a JSON value, names included. */
  redactJson<T>(value: T): T {
    // Text by text: escaped once more, as a part of the whole, a value would not be recognised.
    return this.#clean(value) as T;
  }

  #clean(value: unknown): unknown {
    if (typeof value === "string") return this.redact(value);
    if (Array.isArray(value)) return value.map((one) => this.#clean(one));
    if (typeof value !== "object" || value === null) return value;
    return Object.fromEntries(
      Object.entries(value).map(([name, one]) => [this.redact(name), this.#clean(one)]),
    );
  }
}

function formsOf(value: string): string[] {
  // Output comes line by line, and so does a key of many lines.
  const lines = value.split("\n").map((line) => line.trim());
  const texts = [value, ...lines].filter((text) => text.length >= REDACTED_LENGTH);
  return texts.flatMap((text) => [
    text,
    JSON.stringify(text).slice(1, -1),
    encodeURIComponent(text),
    Buffer.from(text).toString("base64").replace(/=+$/, ""),
    Buffer.from(text).toString("base64url"),
  ]);
}
