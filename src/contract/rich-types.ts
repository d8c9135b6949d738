/** How objects of the built-in classes travel to a live worker and back: `rich.ts` walks, this knows. */

import { toBase64 } from "./carry.ts";

/** Encodes or decodes a part; `at` is what its path adds. */
export type Inner = (part: unknown, at: string) => unknown;

/** Bytes in JSON. */
export interface Bytes {
  base64: string;
}

/** Has a body read before the encoding ends. */
export type Read = (bytes: Promise<ArrayBuffer>) => Bytes;

export interface Codec {
  encode: (value: object, inner: Inner, read: Read) => unknown;
  /** May throw anything for JSON that it has not written. */
  decode: (json: unknown, inner: Inner) => unknown;
}

/** The class of an object by its tag, since realms bring classes of their own; `Error` for all errors. */
export function tagOf(value: object): string {
  if (value instanceof Error) return "Error";
  const tag = Object.prototype.toString.call(value).slice(8, -1);
  return ArrayBuffer.isView(value) ? "View" : tag;
}

// oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- `encode` is written for one class
function codec<T extends object, J>(
  encode: (value: T, inner: Inner, read: Read) => J,
  decode: (json: J, inner: Inner) => unknown,
): Codec {
  return { encode: encode as Codec["encode"], decode: decode as Codec["decode"] };
}

/** By tag. */
export const CODECS: Readonly<Record<string, Codec>> = {
  Date: codec(
    (date: Date) => (Number.isNaN(date.getTime()) ? null : date.toISOString()),
    (text) => new Date(text ?? Number.NaN),
  ),
  RegExp: codec(
    ({ source, flags }: RegExp) => ({ source, flags }),
    ({ source, flags }) => new RegExp(source, flags),
  ),
  URL: codec(
    ({ href }: URL) => href,
    (href) => new URL(href),
  ),
  URLSearchParams: codec(
    (query: URLSearchParams) => query.toString(),
    (text) => new URLSearchParams(text),
  ),
  Map: codec(
    (map: Map<unknown, unknown>, inner) =>
      [...map].map(([key, value], index) => [
        inner(key, `.keys()[${index}]`),
        inner(value, `.values()[${index}]`),
      ]),
    (entries, inner) =>
      new Map(
        entries.map(([key, value], index) => [
          inner(key, `.keys()[${index}]`),
          inner(value, `.values()[${index}]`),
        ]),
      ),
  ),
  Set: codec(
    (set: Set<unknown>, inner) => [...set].map((item, index) => inner(item, `.values()[${index}]`)),
    (items, inner) => new Set(items.map((item, index) => inner(item, `.values()[${index}]`))),
  ),
  Error: codec(encodeError, decodeError),
  ArrayBuffer: codec(
    (buffer: ArrayBuffer) => toBase64(new Uint8Array(buffer)),
    (text) => fromBase64(text).buffer,
  ),
  View: codec(encodeView, decodeView),
  Blob: codec(
    (blob: Blob, _, read) => ({ type: blob.type, body: read(blob.arrayBuffer()) }),
    ({ type, body }) => new Blob([fromBase64(body.base64)], { type }),
  ),
  File: codec(
    (file: File, _, read) => ({
      name: file.name,
      type: file.type,
      lastModified: file.lastModified,
      body: read(file.arrayBuffer()),
    }),
    ({ name, type, lastModified, body }) =>
      new File([fromBase64(body.base64)], name, { type, lastModified }),
  ),
  Headers: codec(
    (headers: Headers) => [...headers],
    (pairs) => new Headers(pairs),
  ),
  Request: codec(encodeRequest, decodeRequest),
  Response: codec(encodeResponse, decodeResponse),
  ReadableStream: codec(
    (stream: ReadableStream, _, read) => read(new Response(stream).arrayBuffer()),
    ({ base64 }) => new Blob([fromBase64(base64)]).stream(),
  ),
};

const VIEWS: readonly (new (buffer: ArrayBuffer) => ArrayBufferView)[] = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  BigInt64Array,
  BigUint64Array,
  Float32Array,
  Float64Array,
  DataView,
];

interface ViewJson {
  type: string;
  base64: string;
}

/** A Buffer arrives as the Uint8Array that it is. */
function encodeView(view: ArrayBufferView): ViewJson {
  const type = Object.prototype.toString.call(view).slice(8, -1);
  return { type, base64: toBase64(new Uint8Array(view.buffer, view.byteOffset, view.byteLength)) };
}

function decodeView({ type, base64 }: ViewJson): ArrayBufferView {
  const view = VIEWS.find(({ name }) => name === type);
  if (view === undefined) throw new TypeError(`there is no ${type} here`);
  return new view(fromBase64(base64).buffer);
}

interface ErrorJson {
  name: string;
  message: string;
  stack: unknown;
  cause: unknown;
  errors: unknown;
  /** Its own further properties, such as `code`. */
  more: unknown;
}

const ERRORS = [Error, EvalError, RangeError, ReferenceError, SyntaxError, TypeError, URIError];

function encodeError(error: Error, inner: Inner): ErrorJson {
  const { name, message, stack, cause } = error;
  const more = Object.fromEntries(
    Object.entries(error).filter(([key]) => !["name", "message", "stack", "cause"].includes(key)),
  );
  const { errors } = error as Partial<AggregateError>;
  return {
    // A subclass that does not set its name is still known by its class.
    name: name === "Error" ? (error.constructor?.name ?? name) : name,
    message,
    stack: inner(stack, ".stack"),
    cause: inner(cause, ".cause"),
    errors: inner(errors, ".errors"),
    more: inner(more, ""),
  };
}

function decodeError(json: ErrorJson, inner: Inner): Error {
  const type = ERRORS.find(({ name }) => name === json.name) ?? Error;
  const errors = inner(json.errors, ".errors");
  const error = Array.isArray(errors)
    ? new AggregateError(errors, json.message)
    : new type(json.message);
  if (error.name !== json.name) setHidden(error, "name", json.name);
  const cause = inner(json.cause, ".cause");
  if (cause !== undefined) setHidden(error, "cause", cause);
  setHidden(error, "stack", inner(json.stack, ".stack"));
  return Object.assign(error, inner(json.more, ""));
}

function setHidden(error: Error, key: string, value: unknown): void {
  Object.defineProperty(error, key, { value, configurable: true, writable: true });
}

interface MessageJson {
  headers: [string, string][];
  body: Bytes | null;
}

function encodeRequest(
  request: Request,
  _: Inner,
  read: Read,
): MessageJson & { url: string; method: string } {
  const { url, method, headers, body } = request;
  return {
    url,
    method,
    headers: [...headers],
    body: body === null ? null : read(request.arrayBuffer()),
  };
}

function decodeRequest(json: ReturnType<typeof encodeRequest>): Request {
  const { url, method, headers, body } = json;
  return new Request(url, {
    method,
    headers,
    body: body === null ? null : fromBase64(body.base64),
  });
}

function encodeResponse(
  response: Response,
  _: Inner,
  read: Read,
): MessageJson & { status: number; statusText: string } {
  const { status, statusText, headers, body } = response;
  return {
    status,
    statusText,
    headers: [...headers],
    body: body === null ? null : read(response.arrayBuffer()),
  };
}

function decodeResponse(json: ReturnType<typeof encodeResponse>): Response {
  const { status, statusText, headers, body } = json;
  const bytes = body === null ? null : fromBase64(body.base64);
  return new Response(bytes, { status, statusText, headers });
}

function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
}
