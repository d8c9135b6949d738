/**
 * Clouds: where `flash deploy` can go. Owns the way there and what comes back, not what is deployed.
 *
 *   clouds         this file: a cloud for a target
 *   flash-server/  a Flash server, over its control API
 *     flash-server   the contract's `Cloud`
 *     jobs           jobs, through the job API
 *     lines          events and logs
 *     identity-client   keys, secrets, audit, logins
 *     client         HTTP: requests, uploads, streamed lines, errors
 *     upload            an artifact, in parts
 */

import { FlashError } from "../contract/errors.ts";
import type { Cloud } from "../contract/cloud.ts";
import { FlashServerCloud } from "./flash-server/flash-server.ts";

export { FlashServerCloud };
export { IdentityClient } from "./flash-server/identity-client.ts";
export { ControlClient } from "./flash-server/client.ts";

/** The cloud of a target: base URL of a Flash server. Throws `INVALID_CONFIG` for anything else. */
export function openCloud(target: string, key: string | undefined): Cloud {
  return new FlashServerCloud({ url: serverUrl(target), key });
}

/** A server's base URL without a slash at the end. Throws `INVALID_CONFIG`. */
export function serverUrl(text: string): string {
  const url = URL.parse(text.trim());
  if (url === null || !["http:", "https:"].includes(url.protocol)) {
    throw new FlashError(
      "INVALID_CONFIG",
      `The target '${text}' is not the URL of a Flash server.`,
      {
        hint: "Write it with its scheme, such as https://flash.example.com or http://127.0.0.1:4747.",
      },
    );
  }
  return `${url.origin}${url.pathname}`.replace(/\/+$/, "");
}
