/** Where a request comes from, for the audit trail and for those who guess keys. */

import type { IncomingHttpHeaders } from "node:http";

/** What is needed of a request. */
export interface Addressed {
  headers: IncomingHttpHeaders;
  socket: { remoteAddress?: string | undefined };
}

/**
 * The peer's address; behind a proxy that is trusted what that proxy says, which is the last entry of
 * `X-Forwarded-For`: everything before it is what the client has claimed.
 */
export function clientAddress(
  { headers, socket }: Addressed,
  { trustsProxy }: { trustsProxy: boolean },
): string {
  const forwarded = trustsProxy ? headers["x-forwarded-for"] : undefined;
  const last = String(forwarded ?? "")
    .split(",")
    .at(-1)
    ?.trim();
  const address = last || (socket.remoteAddress ?? "");
  // An IPv4 peer of a listener for both families.
  return address.replace(/^::ffff:(?=\d+\.)/, "").slice(0, 64);
}
