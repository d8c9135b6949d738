/** `POST /{endpoint}/execute` of the dev server: a function's call, on its way to a live worker. */

import type { IncomingMessage, ServerResponse } from "node:http";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { ReadableStream as NodeReadableStream } from "node:stream/web";
import { FlashError } from "../contract/errors.ts";
import { isPlainJsonObject, parseOrUndefined } from "../contract/json.ts";
import { LIMITS } from "../contract/limits.ts";
import type { EndpointManifest } from "../contract/manifest.ts";
import type { LiveCall, LiveEvent } from "../contract/live.ts";
import { callerOf, endWithClient, onClientEnd } from "../server/gateway/ended-side.ts";
import { respond } from "../worker/live/respond.ts";

/** What has functions run on live workers. */
export interface LiveEndpoints {
  has(endpoint: string): boolean;
  execute(endpoint: string, call: LiveCall, signal: AbortSignal): AsyncIterable<LiveEvent>;
}

/** The endpoint of a path that ends in `/execute`, when it has live workers. */
export function liveEndpointOf(
  pathname: string,
  live: LiveEndpoints | undefined,
): string | undefined {
  const name = /^\/([^/]+)\/execute$/.exec(pathname)?.[1];
  return name !== undefined && live?.has(name) === true ? name : undefined;
}

/** Runs the call, or describes the endpoint. Rejects while nothing has been sent yet. */
export async function answerLive(
  endpoint: EndpointManifest,
  live: LiveEndpoints,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  if (request.method === "POST")
    return await answerCall(endpoint.name, live, { request, response });
  if (request.method === "GET") {
    const { name, kind, form, functions } = endpoint;
    await send(Response.json({ name, kind, form, functions }), response);
    return;
  }
  const allowed = "GET, POST";
  response.setHeader("allow", allowed);
  throw new FlashError("METHOD_NOT_ALLOWED", `${request.method} is not allowed here: ${allowed}.`);
}

async function answerCall(
  endpoint: string,
  live: LiveEndpoints,
  { request, response }: { request: IncomingMessage; response: ServerResponse },
): Promise<void> {
  if (request.headers.expect !== undefined) response.writeContinue();
  const call = parseOrUndefined(await readText(request));
  if (!isPlainJsonObject(call)) {
    throw new FlashError("INVALID_REQUEST", "Invalid request body: it is no JSON object");
  }
  const left = new AbortController();
  response.once("close", () => left.abort());
  onClientEnd(response, () => endWithClient(callerOf(response)));
  // The code is what the dev server has built, whatever the caller sends.
  const { bundle: _, ...rest } = call;
  const events = live.execute(endpoint, rest as unknown as LiveCall, left.signal);
  await send(await respond(events, request.headers.accept), response);
}

async function send(answer: Response, response: ServerResponse): Promise<void> {
  response.writeHead(answer.status, Object.fromEntries(answer.headers));
  response.flushHeaders();
  const body = answer.body as NodeReadableStream | null;
  // Whoever has left wants no more; the call was told by its signal.
  if (body !== null) await pipeline(Readable.fromWeb(body), response).catch(() => undefined);
}

async function readText(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > LIMITS.lbBodyBytes) {
      throw new FlashError(
        "PAYLOAD_TOO_LARGE",
        `The arguments are larger than ${LIMITS.lbBodyBytes} bytes.`,
      );
    }
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}
