/** JSON values and the paths into them: how they are recognised, compared and shown to people. */

/** Deeper JSON than this is refused everywhere, rather than risking the stack of whoever walks it. */
export const MAX_DEPTH = 256;

/** The value of JSON text, or undefined when it is none. */
export function parseOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

export function isPlainJsonObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return false;
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null;
}

/** Assigning `__proto__` would change the prototype instead of adding a key. */
export function withKey<T extends object>(object: T, key: string, value: unknown): T {
  Object.defineProperty(object, key, {
    value,
    enumerable: true,
    writable: true,
    configurable: true,
  });
  return object;
}

/** The object's own value of that key: `constructor` and its like are not found on the prototype. */
export function ownValue<T>(
  object: Readonly<Record<string, T>> | undefined,
  key: string,
): T | undefined {
  return object !== undefined && Object.hasOwn(object, key) ? object[key] : undefined;
}

/** True when JSON is nested deeper than {@link MAX_DEPTH}. A loop: recursion is what it protects. */
export function isTooDeep(value: unknown): boolean {
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MAX_DEPTH) return true;
    const next: unknown[] = [];
    for (const one of level) {
      if (typeof one !== "object" || one === null) continue;
      // No spread: an array may hold more items than a call may have arguments.
      for (const item of Object.values(one)) {
        if (typeof item === "object" && item !== null) next.push(item);
      }
    }
    level = next;
  }
  return false;
}

/** JSON text that does not depend on the order of keys. */
export function canonical(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonical).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value) ?? "null";
  const object = value as Record<string, unknown>;
  const pairs = Object.keys(object)
    .sort()
    .map((key) => `${JSON.stringify(key)}:${canonical(object[key])}`);
  return `{${pairs.join(",")}}`;
}

export function equalJson(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  return typeof a === "object" && typeof b === "object" && canonical(a) === canonical(b);
}

/** Longest text of a value inside a message. */
const SHOWN = 60;

/** Shows a JSON value in a message, cut to a readable length. */
export function show(value: unknown): string {
  const text = render(value, SHOWN);
  return text.length > SHOWN ? `${text.slice(0, SHOWN - 3)}...` : text;
}

/** Stops soon after `room` characters, whatever the size of the value. */
function render(value: unknown, room: number): string {
  if (value === undefined) return "nothing";
  if (typeof value === "string") return JSON.stringify(value.slice(0, room + 1));
  if (typeof value === "bigint") return `${value}n`;
  if (value === null || typeof value === "number" || typeof value === "boolean") return `${value}`;
  if (typeof value !== "object") return typeof value;
  const isList = Array.isArray(value);
  const entries: Iterable<[string, unknown]> = isList
    ? Object.entries(value.slice(0, room))
    : ownEntries(value as Record<string, unknown>);
  const parts: string[] = [];
  let left = room;
  for (const [key, item] of entries) {
    if (left <= 0) break;
    const text = render(item, left - 1);
    const part = isList ? text : `${render(key, left)}:${text}`;
    parts.push(part);
    left -= part.length + 1;
  }
  return isList ? `[${parts.join(",")}]` : `{${parts.join(",")}}`;
}

/** Unlike Object.entries, reads only the values that are asked for. */
function* ownEntries(object: Record<string, unknown>): Generator<[string, unknown]> {
  for (const key in object) if (Object.hasOwn(object, key)) yield [key, object[key]];
}

/** `a`, `a or b`, `a, b or c`. */
export function listOr(words: readonly string[]): string {
  if (words.length <= 1) return words[0] ?? "nothing";
  return `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
}

/** `user` + `name` → `user.name`; keys that are no identifiers are quoted. */
export function joinPath(path: string, key: string): string {
  if (!/^[A-Za-z_$][\w$]*$/.test(key)) return `${path}[${JSON.stringify(key)}]`;
  return path === "" ? key : `${path}.${key}`;
}
