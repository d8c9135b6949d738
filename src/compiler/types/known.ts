/** Types of the language and the platform that mean something special to Flash. */

import { SyntaxKind, type TsSymbol, type Type } from "./typescript.ts";

/** How a platform type travels; the rest of them do not. */
export type KnownType =
  | "date"
  | "set"
  | "buffer"
  | "blob"
  | "request"
  | "response"
  | "stream"
  | "generator"
  | "promise"
  | "string"
  | "number"
  | "boolean"
  | "anything"
  | "refused";

const KNOWN: Readonly<Record<string, KnownType>> = {
  Date: "date",
  Set: "set",
  ReadonlySet: "set",
  Uint8Array: "buffer",
  Buffer: "buffer",
  File: "blob",
  Blob: "blob",
  Request: "request",
  Response: "response",
  ReadableStream: "stream",
  AsyncGenerator: "generator",
  AsyncIterable: "generator",
  AsyncIterableIterator: "generator",
  AsyncIteratorObject: "generator",
  Generator: "generator",
  Promise: "promise",
  PromiseLike: "promise",
  String: "string",
  Number: "number",
  Boolean: "boolean",
  Object: "anything",
  Iterable: "refused",
  IteratorObject: "refused",
  ArrayLike: "refused",
  Disposable: "refused",
  AsyncDisposable: "refused",
  Map: "refused",
  ReadonlyMap: "refused",
  WeakMap: "refused",
  WeakSet: "refused",
  RegExp: "refused",
  Error: "refused",
  URL: "refused",
  URLSearchParams: "refused",
  FormData: "refused",
  Headers: "refused",
  AbortSignal: "refused",
  ArrayBuffer: "refused",
  SharedArrayBuffer: "refused",
  DataView: "refused",
  Int8Array: "refused",
  Uint8ClampedArray: "refused",
  Int16Array: "refused",
  Uint16Array: "refused",
  Int32Array: "refused",
  Uint32Array: "refused",
  Float32Array: "refused",
  Float64Array: "refused",
  BigInt64Array: "refused",
  BigUint64Array: "refused",
  Function: "refused",
  Symbol: "refused",
  WritableStream: "refused",
};

/** What to do instead, for types that do not travel. */
export const INSTEAD: Readonly<Record<string, string>> = {
  Map: "Use Record<string, T>, or an array of pairs.",
  ReadonlyMap: "Use Record<string, T>, or an array of pairs.",
  Iterable: "Use T[].",
  ArrayLike: "Use T[].",
  RegExp: "Take the pattern as a string.",
  URL: "Take a string with `@format uri` in its doc comment.",
  AbortSignal: "Read it from context().signal inside the function.",
  ArrayBuffer: "Use Uint8Array.",
  Error: "Take an object with the fields that matter.",
  Response: "Return a Response; take the data that you need from it.",
  ReadableStream: "Take the raw Request and read its body.",
  Request: "Only routes of load-balanced endpoints get the raw request, as a parameter of its own.",
  File: "Only routes take files, each as a parameter of its own. In a queue, use Uint8Array.",
  Blob: "Only routes take files, each as a parameter of its own. In a queue, use Uint8Array.",
  Promise: "Take the value itself.",
};

/** Files of TypeScript's own library and of Node's types. */
const LIBRARY =
  /\/lib\.[^/]*\.d\.ts$|\/node_modules\/(@types\/node|undici-types|bun-types|@cloudflare\/workers-types)\//;

/** The platform type behind `type`, with its name. A type of the user's that has the same name is none. */
export function knownType(type: Type): { name: string; known: KnownType } | undefined {
  // A project without the platform's types: the name is all there is.
  const symbol = type.isErrorType() ? type.getAliasSymbol() : type.getSymbol();
  if (symbol === undefined) return undefined;
  const known = Object.hasOwn(KNOWN, symbol.name) ? KNOWN[symbol.name] : undefined;
  if (known === undefined || !(type.isErrorType() || isLibrary(symbol))) return undefined;
  return { name: symbol.name, known };
}

function isLibrary(symbol: TsSymbol): boolean {
  return (
    symbol.declarations.length > 0 &&
    symbol.declarations.some(
      ({ path, kind }) => LIBRARY.test(path) && kind !== SyntaxKind.ImportSpecifier,
    )
  );
}
