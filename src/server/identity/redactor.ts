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

  /** The same for every text within a JSON value. */
  redactJson<T>(value: T): T {
    if (value === undefined) return value;
    const text = JSON.stringify(value);
    const clean = this.redact(text);
    return clean === text ? value : (JSON.parse(clean) as T);
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
