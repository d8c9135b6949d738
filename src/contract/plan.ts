/**
 * What a deployment changes, decided from what runs and from what is to run. Pure: the server shows the
 * plan and carries the same one out.
 */

import { canonical } from "./json.ts";
import type { EndpointManifest } from "./manifest.ts";
import type { EndpointKind } from "./options.ts";

export const CHANGE_ACTIONS = ["create", "update", "restore", "remove", "unchanged"] as const;

/**
 * `create`: the environment has no such endpoint. `update`: its workers are replaced. `restore`: it
 * drifted, and comes back as it was. `remove`: its workers end and its jobs are cancelled. `unchanged`:
 * not one worker is replaced.
 */
export type ChangeAction = (typeof CHANGE_ACTIONS)[number];

export interface OptionChange {
  /** `workersMax`, `env.LOG_LEVEL`. */
  option: string;
  /** Undefined: there was none. Values of `env` are never shown. */
  from?: unknown;
  /** Undefined: there will be none. */
  to?: unknown;
}

export interface EndpointChange {
  name: string;
  kind: EndpointKind;
  action: ChangeAction;
  /** Sorted by option. */
  options: OptionChange[];
  /** Code, packages or the worker program changed. */
  code: boolean;
  /** Routes or signatures changed. */
  interface: boolean;
}

/**
 * `missing`: it was removed by itself. `files`: the server no longer has the files it runs from.
 * `settings`: it runs with other settings than the release says.
 */
export type DriftReason = "missing" | "files" | "settings";

/** An endpoint that is not what the active release says. */
export interface Drift {
  name: string;
  reason: DriftReason;
  /** For `settings`: what the release says, and what is. */
  options: OptionChange[];
}

/** Instead of the value of a variable. */
const HIDDEN = "***";

/** Endpoints by name: what becomes of each. */
export function planChanges(
  before: readonly EndpointManifest[],
  after: readonly EndpointManifest[],
  drift: readonly Drift[] = [],
): EndpointChange[] {
  const known = new Map(before.map((endpoint) => [endpoint.name, endpoint]));
  const drifted = new Map(drift.map(({ name, reason }) => [name, reason]));
  const wanted = new Set(after.map(({ name }) => name));
  const changes = after.map((endpoint) =>
    changeOf(known.get(endpoint.name), endpoint, drifted.get(endpoint.name)),
  );
  for (const { name, kind } of before) {
    // What is missing already need not be removed.
    if (wanted.has(name) || drifted.get(name) === "missing") continue;
    changes.push({ name, kind, action: "remove", options: [], code: false, interface: false });
  }
  return changes.sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** True when a deployment with these changes does anything. */
export function changesAnything(changes: readonly EndpointChange[]): boolean {
  return changes.some(({ action }) => action !== "unchanged");
}

function changeOf(
  before: EndpointManifest | undefined,
  after: EndpointManifest,
  drift: DriftReason | undefined,
): EndpointChange {
  const { name, kind } = after;
  const nothing = { name, kind, options: [], code: false, interface: false };
  if (before === undefined) return { ...nothing, action: "create" };
  const options = optionChanges(before.options, after.options);
  const isOtherInterface =
    before.kind !== kind || canonical(before.functions) !== canonical(after.functions);
  const isOther = before.fingerprint !== after.fingerprint;
  // The fingerprint covers options, interface and code: what the first two do not explain is code.
  const isUnexplained = isOther && options.length === 0 && !isOtherInterface;
  const code = isOther && (codeOf(before) !== codeOf(after) || isUnexplained);
  const isSame = !isOther && !isOtherInterface && options.length === 0;
  if (isSame && drift === undefined) return { ...nothing, action: "unchanged" };
  const action = isSame || drift === "missing" ? "restore" : "update";
  return { name, kind, action, options, code, interface: isOtherInterface };
}

/** What of the code the manifest itself shows. */
function codeOf({ code, packages }: EndpointManifest): string {
  return canonical([code ?? null, packages]);
}

/** Every option whose value differs, sorted; `env` variable by variable. */
export function optionChanges(
  before: EndpointManifest["options"],
  after: EndpointManifest["options"],
): OptionChange[] {
  const from = flat(before);
  const to = flat(after);
  return [...new Set([...from.keys(), ...to.keys()])]
    .filter((option) => canonical(from.get(option) ?? null) !== canonical(to.get(option) ?? null))
    .sort()
    .map((option) => {
      if (option.startsWith("env.")) {
        // Variables may hold what nobody should read on a screen.
        return {
          option,
          ...(from.has(option) ? { from: HIDDEN } : {}),
          ...(to.has(option) ? { to: HIDDEN } : {}),
        };
      }
      return { option, from: shown(option, from.get(option)), to: shown(option, to.get(option)) };
    });
}

/** Options as anybody may see them: the values of variables are left out. */
export function shownOptions(options: EndpointManifest["options"]): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options).map(([option, value]) => [option, shown(option, value)]),
  );
}

function shown(option: string, value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (option === "env") {
    return Object.fromEntries(Object.keys(value).map((name) => [name, HIDDEN]));
  }
  if (option !== "template" || !("env" in value)) return value;
  return { ...value, env: shown("env", value.env) };
}

function flat(options: EndpointManifest["options"]): Map<string, unknown> {
  const { env, ...rest } = options;
  const entries = Object.entries(env).map(([name, value]): [string, unknown] => [
    `env.${name}`,
    value,
  ]);
  return new Map<string, unknown>([...Object.entries(rest), ...entries]);
}
