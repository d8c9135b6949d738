/** What the commands about keys, secrets and the audit trail share: their server, times, durations. */

import { IdentityClient } from "../clouds/clouds.ts";
import type { Cloud } from "../contract/cloud.ts";
import { FlashError } from "../contract/errors.ts";
import type { Invocation, OptionDefinition } from "./command.ts";
import { openProject, type Project } from "./project.ts";
import { openDestination, TARGET_OPTIONS, type TargetOptions } from "./target.ts";

/** The options of a command about a server, not a deployment. */
export const SERVER_OPTIONS: readonly OptionDefinition[] = TARGET_OPTIONS.filter(
  ([flags]) => flags.startsWith("--target") || flags.startsWith("--port"),
);

/** The server that the command is about. */
export async function openIdentity(
  invocation: Invocation,
  options: { start: boolean } = { start: false },
): Promise<{ client: IdentityClient; cloud: Cloud; project: Project }> {
  const { cwd, env, signal } = invocation;
  const { app } = invocation.options as TargetOptions;
  const project = openProject({ cwd, env, app });
  const { cloud, key } = await openDestination(invocation, project, options);
  return { client: new IdentityClient({ url: cloud.target, key, signal }), cloud, project };
}

/** `Thu, Feb 19 2026 1:33 PM PST`; `-` when there is none. Source: spec/cli.md 1. */
export function localTime(time: string | null): string {
  if (time === null) return "-";
  const parts = new Intl.DateTimeFormat("en-US", {
    weekday: "short",
    month: "short",
    day: "numeric",
    year: "numeric",
    hour: "numeric",
    minute: "2-digit",
    timeZoneName: "short",
  }).formatToParts(new Date(time));
  const of = (type: string): string => parts.find((part) => part.type === type)?.value ?? "";
  const clock = `${of("hour")}:${of("minute")} ${of("dayPeriod")} ${of("timeZoneName")}`;
  return `${of("weekday")}, ${of("month")} ${of("day")} ${of("year")} ${clock}`;
}

const UNITS: Readonly<Record<string, number>> = { s: 1, m: 60, h: 3600, d: 86_400 };

/** `90d`, `12h`, `never`: seconds, or `never`. Throws `INVALID_USAGE`. */
export function lifetime(text: string): number | "never" {
  // Not null: the parser of the command line takes that for a flag without a value.
  if (text === "never") return text;
  const [, number = "", unit = ""] = /^(\d{1,6})([smhd])$/.exec(text.trim()) ?? [];
  const seconds = Number(number) * (UNITS[unit] ?? 0);
  if (seconds > 0) return seconds;
  throw new FlashError(
    "INVALID_USAGE",
    `A lifetime is written as 30m, 12h, 90d or never, got '${text}'.`,
  );
}
