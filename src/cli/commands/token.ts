/** `flash token`: the key that opens the server. */

import type { CommandDefinition } from "../command.ts";
import { flashHome } from "../home.ts";

export const token: CommandDefinition = {
  description:
    "Prints the key that HTTP clients send as 'Authorization: Bearer <key>'. That is FLASH_API_KEY when " +
    "it is set, otherwise the key of the Flash server on this machine (FLASH_HOME/key), which is made " +
    "when there is none yet.",
  examples: [
    ["flash token", "print the key"],
    ['curl -H "Authorization: Bearer $(flash token)" …', "use it"],
  ],
  async run({ env, output }) {
    const { readOrCreateKey } = await import("../../server/control/key.ts");
    const key = env.FLASH_API_KEY?.trim() || (await readOrCreateKey(flashHome(env)));
    if (output.json) output.document({ key });
    else output.data(key);
  },
};
