/**
 * Requests that offer a change of the protocol which is not taken up: they are answered as if they had not.
 * Java's client offers HTTP/2 with everything it sends. Node asks about each since 24.9
 * (`shouldUpgradeCallback`); before, all of them leave its HTTP server as upgrades.
 */

import type { IncomingMessage, Server } from "node:http";
import type { Duplex } from "node:stream";

/** Headers of an offer. */
const OFFER: ReadonlySet<string> = new Set(["upgrade", "http2-settings"]);

export interface OfferedUpgrade {
  request: IncomingMessage;
  socket: Duplex;
  /** What came after the request's head. */
  head: Buffer;
}

/** Begins with the request anew, without its offer. `event`: with which the server gets its connections. */
export function declineUpgrade(
  server: Server,
  { request, socket, head }: OfferedUpgrade,
  event: "connection" | "secureConnection" = "connection",
): void {
  socket.unshift(Buffer.concat([headWithoutOffer(request), head]));
  server.emit(event, socket);
}

function headWithoutOffer({ method, url, httpVersion, rawHeaders }: IncomingMessage): Buffer {
  let text = `${method} ${url} HTTP/${httpVersion}\r\n`;
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? "";
    const value = withoutOffer(name.toLowerCase(), rawHeaders[index + 1] ?? "");
    if (value !== undefined) text += `${name}: ${value}\r\n`;
  }
  return Buffer.from(`${text}\r\n`, "latin1");
}

/** Undefined: nothing is left of the header. */
function withoutOffer(name: string, value: string): string | undefined {
  if (OFFER.has(name)) return undefined;
  if (name !== "connection") return value;
  const left = value.split(",").filter((option) => !OFFER.has(option.trim().toLowerCase()));
  return left.length === 0 ? undefined : left.join(",");
}
