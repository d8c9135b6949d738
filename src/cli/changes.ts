/** Plans, what a deployment did, and drift, in words. */

import type { Drift, EndpointChange, OptionChange } from "../contract/plan.ts";
import { columns, type Colors } from "./output.ts";

const SIGNS: Record<EndpointChange["action"], string> = {
  create: "+",
  update: "~",
  restore: "~",
  remove: "-",
  unchanged: "=",
};

/** A line for each endpoint: `~ update  api  code, workersMax 1 → 3`. */
export function changesText(changes: readonly EndpointChange[], colors: Colors): string {
  const rows = changes.map((change) => [
    `${SIGNS[change.action]} ${change.action}`,
    change.name,
    detailsOf(change),
  ]);
  const lines = columns(rows, "  ").split("\n");
  return lines.map((line, index) => colored(line, changes[index]?.action, colors)).join("\n");
}

/** A line for each endpoint that is not as the active release says. */
export function driftText(drift: readonly Drift[], colors: Colors): string {
  const lines = drift.map(({ name, reason, options }) => {
    const why = {
      missing: "was removed by itself since the release",
      files: "has lost the files it runs from",
      settings: `runs with other settings: ${options.map(optionText).join(", ") || "another version"}`,
    }[reason];
    return `  ${colors.yellow("!")} ${name} ${why}`;
  });
  return lines.join("\n");
}

function detailsOf({ options, code, interface: isOther, action, kind }: EndpointChange): string {
  if (action === "create") return kind === "qb" ? "queue" : "load-balanced";
  const parts = [
    ...(code ? ["code"] : []),
    ...(isOther ? ["routes or signatures"] : []),
    ...options.map(optionText),
  ];
  return parts.join(", ");
}

function optionText({ option, from, to }: OptionChange): string {
  if (from === undefined) return `${option} added`;
  if (to === undefined) return `${option} removed`;
  const [before, after] = [JSON.stringify(from), JSON.stringify(to)];
  // Values that may not be shown look the same.
  return before === after ? `${option} changed` : `${option} ${before} → ${after}`;
}

function colored(line: string, action: EndpointChange["action"] | undefined, colors: Colors) {
  switch (action) {
    case "create":
      return colors.green(line);
    case "remove":
      return colors.red(line);
    case "unchanged":
      return colors.dim(line);
    default:
      return colors.yellow(line);
  }
}
