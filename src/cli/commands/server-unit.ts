/** `flash server unit`: a systemd unit for the Flash server. */

import path from "node:path";
import { DEFAULTS, LIMITS } from "../../contract/limits.ts";
import { FlashError } from "../../contract/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { serverCommand } from "../server-settings.ts";
import { parsePort } from "../target.ts";

interface Options {
  user?: string;
  home?: string;
  port?: number;
  host?: string;
}

/** State of a unit with a user of its own: systemd makes the folder. */
const STATE_DIRECTORY = "flash";

export const serverUnit: CommandDefinition = {
  description:
    "Prints a systemd unit that runs the Flash server at every start of the machine: restarted when it fails, " +
    "stopped after running work has finished, locked into its own folder. Without --user systemd makes a user " +
    "for it, and its state is in /var/lib/flash.",
  examples: [
    ["flash server unit | sudo tee /etc/systemd/system/flash.service", "install it"],
    ["sudo systemctl daemon-reload", "let systemd read it"],
    ["sudo systemctl enable --now flash", "start it, now and at every boot"],
  ],
  options: [
    ["--user <name>", "run as this user; default: one that systemd makes"],
    ["--home <folder>", "FLASH_HOME; default: /var/lib/flash"],
    ["-p, --port <number>", "default: 4747", parsePort],
    ["--host <address>", "address to listen on; default: 127.0.0.1, this machine only"],
  ],
  async run({ options, output }) {
    const unit = unitText(options);
    output.document({ unit });
    if (!output.json) output.data(unit.trimEnd());
  },
};

function unitText({ user, home, port, host }: Options): string {
  const ownHome = path.resolve(home ?? `/var/lib/${STATE_DIRECTORY}`);
  const isDefaultHome = home === undefined;
  if (!isDefaultHome && user === undefined) {
    throw new FlashError("INVALID_USAGE", "--home needs --user: somebody has to own the folder.");
  }
  const settings = { port: port ?? DEFAULTS.serverPort, host };
  const command = [process.execPath, ...serverCommand(settings)];
  const stopSeconds = LIMITS.workerGraceMs / 1000 + 15;
  return `[Unit]
Description=Flash server
Wants=network-online.target
After=network-online.target

[Service]
Type=exec
ExecStart=${command.map(quote).join(" ")}
Environment=${quote(`FLASH_HOME=${ownHome}`)}
${user === undefined ? "DynamicUser=yes" : `User=${user}`}
${isDefaultHome ? `StateDirectory=${STATE_DIRECTORY}\nStateDirectoryMode=0700` : `ReadWritePaths=${quote(ownHome)}`}
Restart=on-failure
RestartSec=1
# SIGTERM reaches the server alone: it lets its workers finish, for ${LIMITS.workerGraceMs / 1000} s at most.
KillMode=mixed
TimeoutStopSec=${stopSeconds}
LimitNOFILE=65536
UMask=0077

# Its own folder, the network, and the programs of this machine: nothing else.
NoNewPrivileges=yes
CapabilityBoundingSet=
ProtectSystem=strict
ProtectHome=${isAtHome(command) || isAtHome([ownHome]) ? "read-only" : "yes"}
PrivateTmp=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
`;
}

/** One word of a unit file. Source: systemd.service, "Command lines", and systemd.unit, "Specifiers". */
function quote(word: string): string {
  const escaped = word.replaceAll("%", "%%").replaceAll("$", "$$$$");
  if (/^[\w./:@%+=,$-]+$/.test(escaped)) return escaped;
  return `"${escaped.replaceAll("\\", "\\\\").replaceAll('"', '\\"')}"`;
}

/** A Node from a home folder could not be started without that folder. */
function isAtHome(words: readonly string[]): boolean {
  return words.some((word) => /^\/(?:home|root|run\/user)\//.test(word));
}
