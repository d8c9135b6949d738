/**
 * Addresses of a deployment, on the dev port: a program that calls a Flash server needs no change but
 * FLASH_URL to call the project that is being written.
 *
 *   /v2/{id}/…, /v2/flash/…       the job API, by id and by name
 *   /lb/{id}/…, /lb/flash/…       load-balanced endpoints, likewise
 *   {id}.localhost                the same
 *   GET /api/v1/…                 what is served, for clients that ask how to call it
 *
 * A dev server has one environment; whichever one a client names is that one. What changes a
 * deployment is refused: a dev server deploys what is saved, and nothing else.
 */

import type { IncomingMessage } from "node:http";
import { FlashError } from "../contract/errors.ts";
import { NAME_HEADERS } from "../contract/worker-env.ts";
import type { Served } from "./served.ts";

/** The pseudo id of calls by name. */
const BY_NAME = "flash";

/**
 * True when the request is for an address as a deployment has it; the request then names the dev
 * server's own environment. Throws `FORBIDDEN` for what a dev server does not do.
 */
export function takesProductionPath(
  request: IncomingMessage,
  served: Served | undefined,
  environment: string,
): boolean {
  const ids = [BY_NAME, ...(served?.ids.values() ?? [])];
  if (!isHostOf(ids, request)) {
    if (!isProductionPath(request, ids, served)) return false;
    // The engine reads an id from the host; workers are shown the headers as they came.
    request.headers.host = "localhost";
  }
  if (request.headers[NAME_HEADERS.environment] !== undefined) {
    request.headers[NAME_HEADERS.environment] = environment;
  }
  const url = request.url ?? "/";
  if (!url.startsWith("/api/v1/")) return true;
  if (request.method !== "GET" && request.method !== "HEAD") {
    throw new FlashError("FORBIDDEN", "'flash run' deploys what is saved, and nothing else.", {
      hint: "Give the address of a Flash server: 'flash server start' starts the one of this machine.",
    });
  }
  request.url = inEnvironment(url, environment);
  return true;
}

function isHostOf(ids: readonly string[], { headers: { host = "" } }: IncomingMessage): boolean {
  const label = /^([^.:]+)\.localhost(?::\d+)?$/i.exec(host)?.[1];
  return label !== undefined && ids.includes(label.toLowerCase());
}

/** An endpoint of the project keeps its path even when it is called `v2`, `lb` or `api`. */
function isProductionPath(
  request: IncomingMessage,
  ids: readonly string[],
  served: Served | undefined,
): boolean {
  const path = (request.url ?? "/").replace(/[?#].*$/s, "");
  const [, plane = "", second = ""] = path.split("/", 3);
  if (plane === "v2" || plane === "lb") {
    return ids.includes(second) || (second !== "" && served?.ids.has(plane) !== true);
  }
  if (plane !== "api" || second !== "v1") return false;
  return served?.ids.has("api") !== true || isDescription(request, path);
}

/** What the SDK asks before its first call of an endpoint. */
function isDescription({ headers, url = "" }: IncomingMessage, path: string): boolean {
  if (path !== "/api/v1/endpoints" || headers[NAME_HEADERS.endpoint] === undefined) return false;
  const query = new URLSearchParams(url.slice(path.length));
  return query.has("app") && query.has("environment") && query.has("name");
}

function inEnvironment(url: string, environment: string): string {
  const at = url.indexOf("?");
  if (at === -1) return url;
  const query = new URLSearchParams(url.slice(at));
  if (!query.has("environment")) return url;
  query.set("environment", environment);
  return `${url.slice(0, at)}?${query.toString()}`;
}
