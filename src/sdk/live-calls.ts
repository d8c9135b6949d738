/**
 * Calls of Live resources beside `flash run --remote`: the arguments travel as they are, rich values
 * included, and the dev server has the function run on a live worker.
 */

import { FlashError } from "../contract/flash-error.ts";
import { resultOf, type LiveCall } from "../contract/live.ts";
import { encodeRich } from "../contract/rich.ts";
import { ROUTE_TIMEOUT_MS, timeoutOf, type RemoteCall } from "./calls.ts";
import { eventsOf } from "./events.ts";
import { ensureOk, exchange } from "./exchange.ts";

/** Which function of the endpoint is meant. */
export type LiveTarget = Omit<LiveCall, "serialization_format" | "args" | "context" | "signature">;

/** What the function returns; a stream as it comes. Throws `FUNCTION_ERROR` with what it has thrown. */
export async function callLive(target: LiveTarget, call: RemoteCall): Promise<unknown> {
  const { peer, options } = call;
  const args = await Promise.all(
    call.args.map((value, index) => encodeRich(value, `argument ${index + 1}`)),
  );
  const body: LiveCall = { ...plain(target), serialization_format: "json", args };
  const outgoing = {
    method: "POST",
    url: `${peer.routesUrl}/execute`,
    body: JSON.stringify(body),
    timeoutMs: timeoutOf(call, target.route === undefined ? undefined : ROUTE_TIMEOUT_MS),
    signal: options.signal,
    headers: { ...options.headers, accept: "text/event-stream" },
  };
  return exchange(peer, outgoing, async (response) => {
    await ensureOk(response, peer);
    if (response.body === null) throw new FlashError("REMOTE_ERROR", `${peer.name} sent no answer`);
    return resultOf(eventsOf(response.body, peer.name)).catch((error: unknown) => {
      throw remoteFailure(error);
    });
  });
}

/** A route's declaration holds the function as well. */
function plain({ route, ...target }: LiveTarget): LiveTarget {
  return route === undefined
    ? target
    : { ...target, route: { method: route.method, path: route.path } };
}

/** In the original's words. Source: spec/sdk.md 13.2. */
function remoteFailure(error: unknown): unknown {
  if (!FlashError.is(error) || error.code !== "FUNCTION_ERROR") return error;
  const { message, cause, details, hint, status } = error;
  return new FlashError("FUNCTION_ERROR", `Remote execution failed: ${message}`, {
    cause,
    status,
    ...(details === undefined ? {} : { details }),
    ...(hint === undefined ? {} : { hint }),
  });
}
