/** `flash server stop`: ends the Flash server of this machine. */

import type { CommandDefinition } from "../command.ts";
import { flashHome } from "../home.ts";

export const serverStop: CommandDefinition = {
  description:
    "Stops the Flash server of this machine and its workers: no new work is taken, running work may " +
    "finish, the rest runs again after the next start. Returns when it is gone.",
  examples: [["flash server stop", "stop it"]],
  async run({ env, output, signal }) {
    const { LocalServer } = await import("../local-server.ts");
    const local = new LocalServer(flashHome(env));
    const wasRunning = await local.stop(signal);
    output.print(
      wasRunning
        ? `${output.colors.green("✓")} stopped the Flash server`
        : `no Flash server runs for ${local.home}`,
    );
    output.document({ stopped: wasRunning, home: local.home });
  },
};
