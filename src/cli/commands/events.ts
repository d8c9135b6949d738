/** `flash events`: what happened to apps, endpoints and workers. */

import { EVENT_KINDS, type EventDocument } from "../../contract/events.ts";
import type { CommandDefinition } from "../command.ts";
import { follow, parseSince, parseTail, type FollowOptions } from "../follow.ts";
import type { Output } from "../output.ts";
import { TARGET_OPTIONS } from "../target.ts";

interface Options extends FollowOptions {
  kind?: string;
  worker?: string;
}

const DEFAULT_TAIL = 50;

export const events: CommandDefinition = {
  description:
    "Shows what happened to an environment: releases, endpoints that came and went, workers that started, crashed and were stopped, decisions of the scaler. With --json every event is one JSON document (NDJSON).",
  examples: [
    ["flash events", `the newest ${DEFAULT_TAIL}`],
    ["flash events user-service -f", "one endpoint, and what comes"],
    ["flash events --kind worker.crashed --since 1d", "crashes of the last day"],
  ],
  arguments: [["[endpoint]", "name of an endpoint; default: all"]],
  options: [
    ["-f, --follow", "go on until Ctrl-C"],
    ["-n, --tail <events>", `how many to begin with; default: ${DEFAULT_TAIL}`, parseTail],
    ["--since <time>", "nothing older: 30s, 10m, 2h, 3d, or an ISO 8601 time", parseSince],
    ["--kind <kind>", `one kind, or the first part of some: ${EVENT_KINDS.join(", ")}`],
    ["--worker <id>", "events of one worker"],
    ...TARGET_OPTIONS,
  ],
  async run(invocation) {
    const { kind, worker } = invocation.options as Options;
    const filter = {
      ...(kind === undefined ? {} : { kind }),
      ...(worker === undefined ? {} : { worker }),
    };
    await follow(invocation, {
      what: "events",
      tail: DEFAULT_TAIL,
      read: (cloud, target, { range, options }) =>
        cloud.events(target, { ...range, ...filter }, options),
      text: eventText,
    });
  },
};

function eventText({ time, kind, message }: EventDocument, { colors }: Output): string {
  const { dim, red, yellow, green } = colors;
  const paint =
    kind === "worker.crashed"
      ? red
      : kind === "worker.unhealthy" || kind === "events.skipped"
        ? yellow
        : kind === "release.active" || kind === "worker.ready"
          ? green
          : String;
  return `${dim(time)} ${paint(kind.padEnd(16))} ${message}`;
}
