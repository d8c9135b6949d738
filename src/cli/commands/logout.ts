/** `flash logout`: gives up the key of a remote server, there and here. */

import { FlashError } from "../../contract/errors.ts";
import { IdentityClient } from "../../clouds/clouds.ts";
import type { CommandDefinition } from "../command.ts";
import { findCredential, removeCredential } from "../credentials.ts";
import { flashHome } from "../home.ts";
import { SERVER_OPTIONS } from "../identity.ts";
import { remoteServer } from "../target.ts";

export const logout: CommandDefinition = {
  description:
    "Voids the key that 'flash login' got for a server, and removes it from FLASH_HOME/credentials.json. When the " +
    "server cannot be reached the key is removed here all the same.",
  examples: [["flash logout --target https://flash.example.com", "of that server"]],
  options: SERVER_OPTIONS,
  async run(invocation) {
    const { env, output, signal } = invocation;
    const url = remoteServer(invocation);
    const home = flashHome(env);
    const known = await findCredential(home, url);
    if (known === undefined) {
      output.document({ url, loggedOut: false, revoked: false });
      output.print(`not logged in to ${url}`);
      return;
    }
    const isRevoked = await new IdentityClient({ url, key: known.key, signal })
      .revokeKey(known.id)
      .then(
        () => true,
        (error: unknown) => {
          if (!FlashError.is(error)) throw error;
          // A key that is void already is what was wanted.
          if (error.code !== "UNAUTHORIZED") {
            output.warn(`the key was not voided at ${url}: ${error.message}`);
          }
          return false;
        },
      );
    await removeCredential(home, url);
    output.document({ url, loggedOut: true, revoked: isRevoked });
    output.print(`${output.colors.green("✓")} logged out of ${url}`);
  },
};
