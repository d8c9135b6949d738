/**
 * HTTP to a Flash server's control API. node:http rather than fetch: an upload takes as long as it
 * takes and a followed log may be quiet for hours, and fetch has fixed limits for both.
 */

import { createReadStream } from "node:fs";
import http from "node:http";
import { setTimeout as pause } from "node:timers/promises";
import { errorOfProblem, ERRORS, FlashError } from "../../contract/errors.ts";
import { backoffMs } from "../../kit/backoff.ts";

/** What paths of the control API start with. */
export const API = "/api/v1";

/** A connection on which nothing moves for this long is given up, ms. */
const IDLE_MS = 120_000;
/** A request that may be repeated is tried this often in all. */
const TRIES = 3;
const BACKOFF = { baseMs: 200, factor: 3, capMs: 2000, jitter: 0.2 };
/** More of an error's body than this is not read, bytes. */
const ERROR_BODY_BYTES = 1_000_000;

/** Part of a file. */
export interface FilePart {
  kind: "file";
  path: string;
  /** First byte, and how many. */
  offset: number;
  bytes: number;
}

/** What node:tls says about a certificate that nobody vouches for. */
const UNTRUSTED = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
]);

export interface ControlRequest {
  method: "GET" | "POST" | "PUT" | "DELETE";
  /** Below the base URL: `/api/v1/status`. */
  path: string;
  query?: Readonly<Record<string, string | undefined>>;
  body?: { kind: "json"; value: unknown } | FilePart;
  signal?: AbortSignal | undefined;
  /** Longest silence of the connection, ms; 0 for none. */
  idleMs?: number;
  /** True when doing it twice is the same as doing it once: failures of the way there are retried. */
  isRepeatable?: boolean;
}

export class ControlClient {
  readonly url: string;
  readonly #key: string | undefined;

  constructor(options: { url: string; key: string | undefined }) {
    this.url = options.url;
    this.#key = options.key;
  }

  /**
   * The JSON document that the server answers with. Throws the server's own error, `UNAUTHORIZED`,
   * `SERVER_NOT_RUNNING`, `CONNECTION_FAILED` or `REMOTE_ERROR`.
   */
  async json<T>(request: ControlRequest): Promise<T> {
    for (let tries = 0; ; tries++) {
      try {
        const response = await this.#send(request);
        return parseJson(await readText(response, request.signal)) as T;
      } catch (error) {
        const isWorthIt = request.isRepeatable === true && mayRetry(error) && tries + 1 < TRIES;
        if (!isWorthIt) throw error;
        await pause(backoffMs(BACKOFF, tries), undefined, signalOf(request));
      }
    }
  }

  /** The lines of a streamed answer, as they come. */
  async *lines(request: ControlRequest): AsyncGenerator<string> {
    const response = await this.#send(request);
    const decoder = new TextDecoder();
    let rest = "";
    try {
      for await (const chunk of response as AsyncIterable<Buffer>) {
        const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) if (line !== "") yield line;
      }
    } catch (error) {
      if (request.signal?.aborted === true) throw request.signal.reason;
      throw connectionError(error as Error, this.url);
    } finally {
      response.destroy();
    }
    if (rest !== "") yield rest;
  }

  async #send(request: ControlRequest): Promise<http.IncomingMessage> {
    request.signal?.throwIfAborted();
    const response = await this.#open(request);
    const status = response.statusCode ?? 0;
    if (status >= 200 && status < 300) return response;
    throw await this.#errorOf(response, request);
  }

  #open(request: ControlRequest): Promise<http.IncomingMessage> {
    const url = new URL(this.url + request.path);
    for (const [name, value] of Object.entries(request.query ?? {})) {
      if (value !== undefined) url.searchParams.set(name, value);
    }
    const { headers, write } = bodyOf(request);
    return new Promise((resolve, reject) => {
      const outgoing = moduleOf(url).request(url, {
        method: request.method,
        agent: false,
        headers: { ...headers, ...this.#authorization() },
        ...signalOf(request),
      });
      const idleMs = request.idleMs ?? IDLE_MS;
      outgoing.setTimeout(idleMs, () => outgoing.destroy(silence(this.url, idleMs)));
      outgoing.on("response", resolve);
      outgoing.on("error", (error) => {
        if (request.signal?.aborted === true) reject(request.signal.reason as Error);
        else reject(FlashError.is(error) ? error : connectionError(error, this.url));
      });
      write(outgoing);
    });
  }

  #authorization(): Record<string, string> {
    if (this.#key === undefined) return {};
    if (/^[\x21-\x7e]+$/.test(this.#key)) return { authorization: `Bearer ${this.#key}` };
    throw new FlashError("UNAUTHORIZED", "The key holds characters that no key has.", {
      hint: "Copy it again into FLASH_API_KEY: letters, digits, '-' and '_', in one line.",
    });
  }

  async #errorOf(response: http.IncomingMessage, request: ControlRequest): Promise<FlashError> {
    const text = await readText(response, request.signal, ERROR_BODY_BYTES);
    const status = response.statusCode ?? 0;
    const known = errorOfProblem(tryJson(text));
    if (status === 401) {
      if (this.#key === undefined) {
        return new FlashError("UNAUTHORIZED", `${this.url} wants a key.`, {
          hint: "Run 'flash login', or set FLASH_API_KEY to a key of that server. The key of this machine's server is sent to no other.",
        });
      }
      const why = known === undefined ? "" : ` ${known.message}`;
      return new FlashError("UNAUTHORIZED", `${this.url} does not accept the key.${why}`, {
        hint: "Run 'flash login', or set FLASH_API_KEY to a key of that server.",
      });
    }
    if (known !== undefined) return known;
    const excerpt = text.trim().slice(0, 200);
    return new FlashError(
      "REMOTE_ERROR",
      `${this.url} answered ${request.method} ${request.path} with ${status}${excerpt === "" ? "" : `: ${excerpt}`}`,
      { hint: "Is this the address of a Flash server?" },
    );
  }
}

/** `node:https` is asked for when it is needed: TLS takes longer to load than a command may take. */
function moduleOf({ protocol }: URL): Pick<typeof http, "request"> {
  return protocol === "https:" ? process.getBuiltinModule("node:https") : http;
}

function bodyOf(request: ControlRequest): {
  headers: Record<string, string>;
  write: (outgoing: http.ClientRequest) => void;
} {
  const { body } = request;
  if (body === undefined) return { headers: {}, write: (outgoing) => outgoing.end() };
  if (body.kind === "json") {
    const bytes = Buffer.from(JSON.stringify(body.value));
    return {
      headers: { "content-type": "application/json", "content-length": String(bytes.length) },
      write: (outgoing) => outgoing.end(bytes),
    };
  }
  return {
    headers: { "content-type": "application/octet-stream", "content-length": String(body.bytes) },
    write(outgoing) {
      const { path, offset, bytes } = body;
      const file = createReadStream(path, { start: offset, end: offset + bytes - 1 });
      file.on("error", (cause) => {
        const message = `The artifact ${body.path} cannot be read: ${cause.message}`;
        outgoing.destroy(new FlashError("BUILD_FAILED", message, { cause }));
      });
      outgoing.on("close", () => file.destroy());
      file.pipe(outgoing);
    },
  };
}

async function readText(
  response: http.IncomingMessage,
  signal: AbortSignal | undefined,
  maxBytes = Infinity,
): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  try {
    for await (const chunk of response as AsyncIterable<Buffer>) {
      chunks.push(chunk);
      bytes += chunk.length;
      if (bytes >= maxBytes) break;
    }
  } catch (error) {
    if (signal?.aborted === true) throw signal.reason;
    throw connectionError(error as Error, "The server");
  }
  return Buffer.concat(chunks).toString("utf8");
}

function parseJson(text: string): unknown {
  if (text.trim() === "") return undefined;
  const value = tryJson(text);
  if (value !== undefined) return value;
  throw new FlashError("REMOTE_ERROR", "The server's answer is not JSON.", {
    hint: "Is this the address of a Flash server?",
  });
}

function tryJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function signalOf({ signal }: ControlRequest): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function mayRetry(error: unknown): boolean {
  // Nobody listens: trying again at once only delays saying so.
  return FlashError.is(error) && ERRORS[error.code].retry && error.code !== "SERVER_NOT_RUNNING";
}

function connectionError(error: NodeJS.ErrnoException, url: string): FlashError {
  if (error.code === "ECONNREFUSED") {
    return new FlashError("SERVER_NOT_RUNNING", `No Flash server answers at ${url}.`, {
      hint: "Start the one of this machine with 'flash server start', or name another with --target.",
      cause: error,
    });
  }
  if (UNTRUSTED.has(error.code ?? "")) {
    return new FlashError(
      "CONNECTION_FAILED",
      `The certificate of ${url} is not trusted: ${error.message}.`,
      {
        hint: "For a certificate of your own set NODE_EXTRA_CA_CERTS to the file of its authority, or to itself.",
        cause: error,
      },
    );
  }
  const why = error.message === "" ? (error.code ?? "the connection broke") : error.message;
  return new FlashError("CONNECTION_FAILED", `${url} cannot be reached: ${why.trim()}`, {
    hint:
      error.code === "EPROTO"
        ? "It does not speak TLS: is its address one with http://?"
        : "Check the address, the network and the server; then try again.",
    cause: error,
  });
}

function silence(url: string, idleMs: number): FlashError {
  return new FlashError("CONNECTION_FAILED", `${url} did not answer for ${idleMs / 1000} s.`);
}
