/**
 * Who may use the dev server without a key: programs on this machine.
 *
 * A web page that a developer happens to visit runs on this machine, too. It is kept out by three
 * checks: the `Host` must be a loopback name (a foreign name that resolves to 127.0.0.1 would
 * otherwise make the page "same origin"), and an `Origin` must be a loopback one, which lets a
 * front end on another local port in and other sites out. Browsers send no `Origin` with the plain GET
 * of an image or a script; those tell of themselves in `Sec-Fetch-Site`. A link to follow is no attack.
 */

import type { IncomingMessage } from "node:http";
import { FlashError } from "../contract/errors.ts";

/** True for `localhost`, `*.localhost`, 127.0.0.0/8 and ::1. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/^\[|\]$/g, "");
  return (
    name === "localhost" ||
    name.endsWith(".localhost") ||
    name === "::1" ||
    /^127(\.\d{1,3}){3}$/.test(name)
  );
}

/** Throws `FORBIDDEN` for a request that another site's page may have sent. */
export function checkLocal(request: IncomingMessage): void {
  const { host, origin } = request.headers;
  if (host !== undefined && !isLoopback(hostName(host))) {
    throw new FlashError("FORBIDDEN", `The dev server does not answer to the host '${host}'.`, {
      hint: "Use http://localhost, or start with --host and a key to serve other machines.",
    });
  }
  if (origin === undefined) {
    checkFetchSite(request);
    return;
  }
  const name = URL.canParse(origin) ? new URL(origin).hostname : "";
  if (!isLoopback(name)) {
    throw new FlashError(
      "FORBIDDEN",
      `Pages of '${origin}' may not use the dev server without a key.`,
      {
        hint: "Call it from a page served on localhost.",
      },
    );
  }
}

function checkFetchSite({ headers }: IncomingMessage): void {
  if (headers["sec-fetch-site"] !== "cross-site" || headers["sec-fetch-mode"] === "navigate")
    return;
  throw new FlashError(
    "FORBIDDEN",
    "Pages of another site may not use the dev server without a key.",
    { hint: "Call it from a page served on localhost." },
  );
}

/** The name in a `Host` header. */
function hostName(host: string): string {
  return URL.canParse(`http://${host}`) ? new URL(`http://${host}`).hostname : host;
}
