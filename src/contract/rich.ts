/**
 * Values between a caller and a live worker: JSON in which everything that JSON lacks is written as
 * `{"$type": …, "value": …}`. Plain JSON stays as it is, so a trace can be read. Encoding and decoding
 * gives the same value again, without any schema; what cannot be rebuilt is refused, naming its place.
 *
 *   undefined, NaN, Infinity, -0, bigint       Date, Map, Set, RegExp, URL, Error with causes
 *   Uint8Array and the other views of bytes    Blob, File, Headers, Request, Response, byte streams
 *
 * A value that is referred to twice arrives as two values. Where a class writes its own JSON (`toJSON`),
 * that is what arrives, as everywhere else.
 */

import { toBase64 } from "./carry.ts";
import { FlashError } from "./flash-error.ts";
import { MAX_DEPTH, isPlainJsonObject, joinPath, ownValue, withKey } from "./json.ts";
import { CODECS, tagOf, type Bytes, type Inner } from "./rich-types.ts";

const TAG = "$type";

/**
 * The value as JSON. Bodies of Requests, Responses, Blobs and streams are read. Throws
 * `NOT_SERIALIZABLE` naming the first part that cannot travel; `path` is the name of the whole.
 */
export async function encodeRich(value: unknown, path = "value"): Promise<unknown> {
  const run: Encoding = { ancestors: [], reads: [] };
  try {
    const json = encode(value, path, run);
    await Promise.all(run.reads);
    return json;
  } finally {
    // Bodies that were being read when another part was refused: nobody waits for them.
    await Promise.allSettled(run.reads);
  }
}

/** The value that {@link encodeRich} has written. Throws `INVALID_REQUEST`. */
export function decodeRich(json: unknown, path = "value"): unknown {
  return decode(json, path, 0);
}

interface Encoding {
  /** The objects around the current value, outermost first. */
  ancestors: object[];
  /** Bodies that are being read. */
  reads: Promise<void>[];
}

function encode(value: unknown, path: string, run: Encoding): unknown {
  switch (typeof value) {
    case "string":
    case "boolean":
      return value;
    case "number":
      if (Object.is(value, -0)) return { [TAG]: "number", value: "-0" };
      return Number.isFinite(value) ? value : { [TAG]: "number", value: String(value) };
    case "bigint":
      return { [TAG]: "bigint", value: String(value) };
    case "undefined":
      return { [TAG]: "undefined" };
    case "object":
      return value === null ? null : encodeObject(value, path, run);
    default:
      throw refused(path, `is a ${typeof value}`);
  }
}

function encodeObject(value: object, path: string, run: Encoding): unknown {
  if (run.ancestors.includes(value)) throw refused(path, "refers back to a value that holds it");
  if (run.ancestors.length >= MAX_DEPTH) {
    throw refused(path, `is nested deeper than ${MAX_DEPTH} levels`);
  }
  run.ancestors.push(value);
  const result = encodeContent(value, path, run);
  run.ancestors.pop();
  return result;
}

function encodeContent(value: object, path: string, run: Encoding): unknown {
  const inner: Inner = (item, part) => encode(item, `${path}${part}`, run);
  // Array.from visits holes, which map skips.
  if (Array.isArray(value)) return Array.from(value, (item, index) => inner(item, `[${index}]`));
  if (isPlainJsonObject(value)) {
    const plain = mapProperties(value, path, (item, at) => encode(item, at, run));
    return Object.hasOwn(value, TAG) ? { [TAG]: "Object", value: plain } : plain;
  }
  const name = tagOf(value);
  const codec = ownValue(CODECS, name);
  if (codec !== undefined) {
    const read = (bytes: Promise<ArrayBuffer>): Bytes => readInto(bytes, run);
    return { [TAG]: name, value: codec.encode(value, inner, read) };
  }
  const { toJSON } = value as { toJSON?: unknown };
  if (typeof toJSON === "function") return encode((toJSON as () => unknown).call(value), path, run);
  throw refused(path, `is a ${value.constructor?.name ?? name}`);
}

function decode(json: unknown, path: string, depth: number): unknown {
  if (typeof json !== "object" || json === null) return json;
  // Each level of a value is two or three levels of tagged JSON.
  if (depth > MAX_DEPTH * 3) throw malformed(path, "is nested too deeply");
  const inner: Inner = (item, part) => decode(item, `${path}${part}`, depth + 1);
  const plain = (object: object): unknown =>
    mapProperties(object, path, (item, at) => decode(item, at, depth + 1));
  if (Array.isArray(json)) return json.map((item, index) => inner(item, `[${index}]`));
  if (!Object.hasOwn(json, TAG)) return plain(json);
  const { [TAG]: name, value } = json as { [TAG]: unknown; value?: unknown };
  if (name === "Object" && isPlainJsonObject(value)) return plain(value);
  if (name === "undefined") return undefined;
  if (name === "number") return Number(value);
  const codec = typeof name === "string" ? ownValue(CODECS, name) : undefined;
  if (codec === undefined && name !== "bigint") {
    throw malformed(path, `has the unknown type ${JSON.stringify(name)}`);
  }
  try {
    return codec === undefined ? BigInt(value as string) : codec.decode(value, inner);
  } catch (cause) {
    if (FlashError.is(cause)) throw cause;
    throw malformed(path, `is no ${String(name)}: ${(cause as Error).message}`);
  }
}

function mapProperties(
  object: object,
  path: string,
  map: (item: unknown, path: string) => unknown,
): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(object)) {
    withKey(result, key, map(item, joinPath(path, key)));
  }
  return result;
}

/** Starts to read a body; the encoding ends when it is there. */
function readInto(bytes: Promise<ArrayBuffer>, run: Encoding): Bytes {
  const body = { base64: "" };
  run.reads.push(
    bytes.then((read) => {
      body.base64 = toBase64(new Uint8Array(read));
    }),
  );
  return body;
}

function refused(path: string, why: string): FlashError {
  const message = `${why}, which cannot travel to a live worker`;
  return new FlashError("NOT_SERIALIZABLE", `${path} ${message}`, {
    hint: "Send plain data: objects, arrays, dates, maps, sets, bytes.",
    issues: [{ path, message }],
  });
}

function malformed(path: string, why: string): FlashError {
  return new FlashError("INVALID_REQUEST", `${path} ${why}`, { issues: [{ path, message: why }] });
}
