/**
 * What a function has received, as text: values that arrive in the wrong form read differently. The
 * corpus project gets a copy of this file.
 */

export function seen(...values: unknown[]): string {
  const texts = values.map(textOf);
  while (texts.at(-1) === "undefined") texts.pop();
  return texts.join(", ");
}

function textOf(value: unknown): string {
  if (value instanceof Date) return `Date(${value.toISOString()})`;
  if (value instanceof Set) return `Set[${[...value].map(textOf).join(", ")}]`;
  if (value instanceof Uint8Array) return `bytes[${[...value].join(" ")}]`;
  if (typeof value === "bigint") return `${value}n`;
  if (value === undefined) return "undefined";
  if (Array.isArray(value)) return `[${value.map(textOf).join(", ")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const entries = Object.entries(value)
    .filter(([, item]) => item !== undefined)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${entries.map(([key, item]) => `${JSON.stringify(key)}: ${textOf(item)}`).join(", ")}}`;
}
