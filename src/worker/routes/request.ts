/** What a route's arguments come from: reads a request's body once, in whatever form it was sent. */

import type { RequestParts } from "../../contract/binder.ts";
import { excerpt } from "../../contract/carry.ts";
import { FlashError } from "../../contract/errors.ts";
import { LIMITS } from "../../contract/limits.ts";
import { isPlainJsonObject } from "../../contract/json.ts";
import { utf8Text } from "../../kit/utf8.ts";
import type { Callable } from "../callable.ts";
import type { RouteRequest } from "./exchange.ts";

const NOTHING = Buffer.alloc(0);

export interface Target {
  /** Still percent-encoded, without the query. */
  path: string;
  query: string;
}

/** Splits a request target; a proxy may send the absolute form. */
export function targetOf(url: string): Target {
  const local = url.startsWith("/") ? url : url.replace(/^[a-z][a-z0-9+.-]*:\/\/[^/?]*/i, "");
  const mark = local.indexOf("?");
  const path = mark === -1 ? local : local.slice(0, mark);
  return { path: path === "" ? "/" : path, query: mark === -1 ? "" : local.slice(mark + 1) };
}

export interface ReadOptions {
  params: Record<string, string>;
  query: string;
  callable: Callable;
  call: HasSignal;
}

/** A call's signal costs something to make, so it is asked for only when it is needed. */
export interface HasSignal {
  readonly signal: AbortSignal;
}

const NO_QUERY = new URLSearchParams();

/** Reads the parts. Throws `PAYLOAD_TOO_LARGE`, `INVALID_REQUEST`, `UNSUPPORTED_MEDIA_TYPE`. */
export async function readParts(
  message: RouteRequest,
  { params, query, callable, call }: ReadOptions,
): Promise<RequestParts> {
  const parts = { path: params, query: query === "" ? NO_QUERY : new URLSearchParams(query) };
  refuseTooLarge(message);
  const isStreamed = callable.wantsRequest && !needsBody(callable);
  if (isStreamed) {
    return {
      ...parts,
      body: { kind: "none" },
      request: webRequest(message, { signal: call.signal, body: "stream" }),
    };
  }
  const bytes = hasBody(message) ? (message.takeWhole() ?? (await readBytes(message))) : NOTHING;
  const body = await readBody(message, bytes, callable);
  return callable.wantsRequest
    ? { ...parts, body, request: webRequest(message, { signal: call.signal, body: bytes }) }
    : { ...parts, body };
}

/** The request as the web platform has it. */
export function webRequest(
  message: RouteRequest,
  { signal, body }: { signal: AbortSignal; body: "none" | "stream" | Uint8Array },
): Request {
  const { method } = message;
  const headers = new Headers();
  for (const [name, values] of Object.entries(message.headersDistinct)) {
    for (const value of values ?? []) headers.append(name, value);
  }
  const isBodiless = method === "GET" || method === "HEAD" || !hasBody(message);
  return new Request(urlOf(message), {
    method,
    headers,
    signal,
    ...(isBodiless || body === "none" ? {} : { body: bodyInit(message, body), duplex: "half" }),
  });
}

function bodyInit(message: RouteRequest, body: "stream" | Uint8Array): BodyInit {
  return typeof body === "string" ? countedStream(message) : (body as Uint8Array<ArrayBuffer>);
}

function urlOf(message: RouteRequest): string {
  const { path, query } = targetOf(message.url);
  const tail = query === "" ? path : `${path}?${query}`;
  const host = message.headers.host ?? "localhost";
  const url = `http://${host}${tail}`;
  return URL.canParse(url) ? url : `http://localhost${tail}`;
}

/** A body as a stream that ends with an error when it grows over the limit. Reads only as fast as it is read. */
function countedStream(message: RouteRequest): ReadableStream<Uint8Array> {
  const chunks = message.stream[Symbol.asyncIterator]() as AsyncIterator<Uint8Array>;
  let size = 0;
  return new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const next = await chunks.next();
        if (next.done === true) {
          controller.close();
          return;
        }
        size += next.value.byteLength;
        if (size > LIMITS.lbBodyBytes) throw tooLarge();
        controller.enqueue(next.value);
      },
      // The rest is read and dropped, so that the answer still reaches a client that is sending.
      cancel: () => void message.stream.resume(),
    },
    { highWaterMark: 0 },
  );
}

/** True when some argument is to be found in the body. */
function needsBody(callable: Callable): boolean {
  return callable.binder
    .sources()
    .some(({ source }) => source === "body" || source === "whole" || source === "form");
}

export function hasBody(message: RouteRequest): boolean {
  const length = message.headers["content-length"];
  return (length !== undefined && length !== "0") || "transfer-encoding" in message.headers;
}

function refuseTooLarge(message: RouteRequest): void {
  if (Number(message.headers["content-length"] ?? 0) > LIMITS.lbBodyBytes) throw tooLarge();
}

function tooLarge(): FlashError {
  const mib = LIMITS.lbBodyBytes / 1024 / 1024;
  return new FlashError("PAYLOAD_TOO_LARGE", `The request's body is over ${mib} MB.`, {
    hint: "Send large data by reference, such as a URL or a path on a network volume.",
  });
}

function readBytes(message: RouteRequest): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    let chunks: Buffer[] = [];
    let size = 0;
    const { stream } = message;
    stream.on("data", (chunk: Buffer) => {
      size += chunk.length;
      if (size <= LIMITS.lbBodyBytes) {
        chunks.push(chunk);
        return;
      }
      // What still comes is dropped as it arrives: closing now could destroy the answer on its way.
      chunks = [];
      reject(tooLarge());
    });
    stream.once("end", () =>
      resolve(chunks.length === 1 ? (chunks[0] as Buffer) : Buffer.concat(chunks)),
    );
    stream.once("close", () => {
      if (message.complete) return;
      reject(new FlashError("CANCELLED", "The client left before its request was whole."));
    });
    stream.once("error", reject);
  });
}

async function readBody(
  message: RouteRequest,
  bytes: Buffer,
  callable: Callable,
): Promise<RequestParts["body"]> {
  if (bytes.length === 0) return { kind: "none" };
  const coding = message.headers["content-encoding"]?.trim().toLowerCase() ?? "identity";
  if (coding !== "identity") {
    throw new FlashError(
      "UNSUPPORTED_MEDIA_TYPE",
      `A body with Content-Encoding '${coding}' is not read.`,
      {
        hint: "Send the body uncompressed.",
      },
    );
  }
  const type = message.headers["content-type"] ?? "";
  const media = type.split(";")[0]?.trim().toLowerCase() ?? "";
  if (media === "multipart/form-data") return readMultipart(bytes, type);
  if (callable.wantsBytes && media !== "application/x-www-form-urlencoded") {
    throw new FlashError(
      "UNSUPPORTED_MEDIA_TYPE",
      `${callable.manifest.name} takes files, so its body must be multipart/form-data, got '${media}'.`,
      { hint: "With curl: -F name=@file for a file and -F name=value for the other parameters." },
    );
  }
  const text = utf8Text(bytes);
  if (text === undefined) {
    throw new FlashError("INVALID_REQUEST", "The body is not UTF-8.", {
      hint: "Encode the text as UTF-8; send bytes that are no text as multipart/form-data.",
    });
  }
  if (media === "application/x-www-form-urlencoded") return readUrlEncoded(text);
  return { kind: "json", value: readJson(text) };
}

/** Some clients label JSON as a form, `curl -d` first of all. */
function readUrlEncoded(text: string): RequestParts["body"] {
  if (text.trimStart().startsWith("{")) {
    try {
      const value: unknown = JSON.parse(text);
      if (isPlainJsonObject(value)) return { kind: "json", value };
    } catch {
      // A form after all.
    }
  }
  return { kind: "form", fields: [...new URLSearchParams(text)] };
}

async function readMultipart(bytes: Buffer, type: string): Promise<RequestParts["body"]> {
  try {
    const response = new Response(bytes as Uint8Array<ArrayBuffer>, {
      headers: { "content-type": type },
    });
    return { kind: "form", fields: [...(await response.formData())] };
  } catch (cause) {
    throw new FlashError("INVALID_REQUEST", "The body is not valid multipart form data.", {
      cause,
      hint: "Let the client set the Content-Type header, which names the boundary.",
    });
  }
}

function readJson(text: string): unknown {
  if (text.trim() === "") return null;
  try {
    return JSON.parse(text);
  } catch (cause) {
    const start = text.length > 60 ? `${text.slice(0, 60)}…` : text;
    throw new FlashError(
      "INVALID_REQUEST",
      `The body is not valid JSON: ${(cause as Error).message}`,
      { cause, hint: `It starts with ${excerpt(start)}.` },
    );
  }
}
