/** `flash audit`: who changed what. */

import type { AuditDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { CommandDefinition } from "../command.ts";
import { localTime, openIdentity, SERVER_OPTIONS } from "../identity.ts";
import { columns, type Output } from "../output.ts";

interface Options {
  app?: string;
  env?: string;
  limit?: number;
}

export const audit: CommandDefinition = {
  description:
    "Shows the audit trail of a server, newest first: every change that was asked for, by whom, from which address, " +
    "and how it went. The newest 100,000 entries are kept. Needs a key that may admin.",
  examples: [
    ["flash audit", "the newest entries"],
    ["flash audit --app shop --env production --limit 1000", "of one environment"],
    ["flash audit --json", "for programs"],
  ],
  options: [
    ["-a, --app <name>", "only this app"],
    ["-e, --env <name>", "only this environment"],
    ["--limit <number>", "at most so many, up to 1000; default: 100", parseLimit],
    ...SERVER_OPTIONS,
  ],
  async run(invocation) {
    const { output } = invocation;
    const { app, env, limit } = invocation.options as Options;
    const { client } = await openIdentity(invocation);
    const document = await client.audit({
      ...(app === undefined ? {} : { app }),
      ...(env === undefined ? {} : { environment: env }),
      ...(limit === undefined ? {} : { limit }),
    });
    output.document(document);
    if (document.entries.length === 0) output.say("nothing has been changed yet");
    else output.print(columns(document.entries.map((entry) => rowOf(entry, output))));
  },
};

function rowOf(entry: AuditDocument["entries"][number], { colors }: Output): string[] {
  const { time, actorName, action, app, environment, endpoint, subject, from, result } = entry;
  const place = [app, environment, endpoint].filter((part) => part !== null).join("/");
  return [
    localTime(time),
    actorName,
    action,
    [place, subject ?? ""].filter(Boolean).join(" "),
    colors.dim(from),
    result === "ok" ? colors.green(result) : colors.red(result),
  ];
}

function parseLimit(text: string): number {
  const limit = Number(text);
  if (Number.isInteger(limit) && limit >= 1 && limit <= 1000) return limit;
  throw new FlashError(
    "INVALID_USAGE",
    `--limit takes a whole number from 1 to 1000, got ${text}.`,
  );
}
