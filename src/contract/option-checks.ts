/**
 * Everything that can be wrong with endpoint options. Pure: the SDK throws the first mistake, the
 * compiler reports all of them. Texts are the original's where it has one. Every client bundle
 * carries this file, since declaring is synchronous: rules of one shape are rows of a table.
 *
 *   option-placement  data centres, CUDA, network volumes
 *   option-template   variables, pod template
 *   option-values     what values are, in code and in words
 */

import {
  CpuInstanceType,
  GpuGroup,
  GpuType,
  ServerlessScalerType,
  cpuInstance,
} from "./hardware.ts";
import { checkName, closest } from "./names.ts";
import { checkPlacement } from "./option-placement.ts";
import { checkEnv, checkTemplate } from "./option-template.ts";
import type { EndpointKind, EndpointOptions } from "./option-types.ts";
import {
  TEXT,
  WHOLE_FROM_0,
  WHOLE_FROM_1,
  describe,
  isRecord,
  isWithin,
  listOf,
  show,
  unknownKeys,
  valuesOf,
  workersOf,
  type Given,
  type Note,
  type Test,
} from "./option-values.ts";

/** Keys that {@link EndpointOptions} knows, for unknown-option checks. */
export const OPTION_NAMES: readonly (keyof EndpointOptions)[] = [
  "name",
  "id",
  "image",
  "gpu",
  "cpu",
  "workers",
  "idleTimeoutS",
  "dependencies",
  "systemDependencies",
  "accelerateDownloads",
  "volume",
  "datacenter",
  "env",
  "gpuCount",
  "executionTimeoutMs",
  "flashboot",
  "scalerType",
  "scalerValue",
  "template",
  "minCudaVersion",
  "maxConcurrency",
  "retries",
  "keyConcurrency",
  "input",
  "output",
];

/** One mistake in a set of options. */
export interface OptionMistake {
  option: string;
  message: string;
  hint?: string;
}

/**
 * Everything that is wrong with `options`, in the order of the table in spec/sdk.md 3.1. Pure; the
 * SDK throws the first one, the compiler reports all of them.
 */
export function checkOptions(options: EndpointOptions, kind?: EndpointKind): OptionMistake[] {
  const mistakes: OptionMistake[] = [];
  const note: Note = (option, message, hint) =>
    mistakes.push({ option, message, ...(hint === undefined ? {} : { hint }) });
  const given: unknown = options;
  if (!isRecord(given)) {
    note("options", `Endpoint() takes an object of options, got ${describe(given)}`);
    return mistakes;
  }
  for (const [key, text] of unknownKeys("Endpoint", given, OPTION_NAMES)) note(key, text);
  checkIdentity(given, note);
  checkHardware(given, note);
  checkWorkers(given["workers"], note);
  checkRules(given, note);
  checkPlacement(given, note);
  checkEnv("env", given["env"], note);
  checkTemplate(given["template"], note);
  return kind === undefined ? mistakes : [...mistakes, ...checkKind(options, kind)];
}

/** What is only wrong because an endpoint is of this kind, which its first use tells. */
export function checkKind({ scalerType }: EndpointOptions, kind: EndpointKind): OptionMistake[] {
  if (kind !== "lb" || scalerType !== "QUEUE_DELAY") return [];
  const message =
    "LoadBalancerSlsResource requires REQUEST_COUNT scaler, not QUEUE_DELAY. Load-balanced endpoints don't support queue-based scaling.";
  return [{ option: "scalerType", message }];
}

function checkIdentity({ gpu, cpu, id, image, name }: Given, note: Note): void {
  if (gpu !== undefined && cpu !== undefined) {
    note("gpu", "gpu and cpu are mutually exclusive. specify one or neither.");
  }
  if (id !== undefined && image !== undefined) {
    note(
      "id",
      "id and image are mutually exclusive. id= connects to an existing endpoint, image= deploys a new one.",
    );
  }
  if (image !== undefined && name === undefined && id === undefined) {
    note("name", "name or id is required when image= is set.");
  }
  const wrong = name === undefined ? undefined : checkName(name);
  if (wrong !== undefined) note("name", `name ${wrong}`);
}

function checkHardware({ gpu, cpu, template }: Given, note: Note): void {
  checkChoice("gpu", gpu, {
    known: [...valuesOf(GpuGroup), ...valuesOf(GpuType)],
    words: "GpuGroup or GpuType",
    kinds: "a GpuGroup, GpuType, or list",
    note,
  });
  const isCpuFine = checkChoice("cpu", cpu, {
    known: valuesOf(CpuInstanceType),
    words: "CpuInstanceType",
    kinds: "a CpuInstanceType, string, or list",
    note,
  });
  const disk = isRecord(template) ? template["containerDiskInGb"] : undefined;
  if (isCpuFine && typeof disk === "number") checkDisk(disk, listOf(cpu as CpuInstanceType), note);
}

interface Choice {
  known: readonly string[];
  /** What an unknown word is not: `'x' is not a valid {words}`. */
  words: string;
  /** What else was expected: `gpu must be {kinds}, got number`. */
  kinds: string;
  note: Note;
}

/** True when a choice is given and every part of it is known. */
function checkChoice(
  option: string,
  value: unknown,
  { known, words, kinds, note }: Choice,
): boolean {
  if (value === undefined) return false;
  const list = listOf(value);
  if (list.length === 0) note(option, `${option} list must not be empty`);
  const wrong = list.filter((item) => !(known as readonly unknown[]).includes(item));
  for (const item of wrong) {
    if (typeof item === "string") {
      const near = closest(item, known);
      const hint = near === undefined ? `Valid: ${known.join(", ")}.` : `Did you mean '${near}'?`;
      note(option, `'${item}' is not a valid ${words}`, hint);
    } else note(option, `${option} must be ${kinds}, got ${describe(item)}`);
  }
  return list.length > 0 && wrong.length === 0;
}

function checkDisk(disk: number, cpus: readonly CpuInstanceType[], note: Note): void {
  const limits = cpus.map((cpu) => ({ cpu, max: cpuInstance(cpu).maxDiskGb }));
  const smallest = Math.min(...limits.map(({ max }) => max));
  if (disk <= smallest) return;
  const listed = limits.map(({ cpu, max }) => `${cpu}: max ${max}GB`).join(", ");
  note(
    "template",
    `Container disk size ${disk}GB exceeds the maximum allowed for CPU instances. Instance limits: ${listed}. Maximum allowed: ${smallest}GB`,
  );
}

function checkWorkers(workers: unknown, note: Note): void {
  if (workers === undefined) return;
  const isPair = Array.isArray(workers) && workers.length === 2 && workers.every(Number.isInteger);
  if (!Number.isInteger(workers) && !isPair) {
    note(
      "workers",
      `workers must be an int or (min, max) tuple, got ${describe(workers)}: ${show(workers)}`,
      "Write workers: [0, 3], or workers: 3 for (0, 3).",
    );
    return;
  }
  const [min, max] = workersOf(workers as number | [number, number]);
  if (min < 0 || max < 0) note("workers", `workers cannot be negative: (${min}, ${max})`);
  else if (min > max) note("workers", `workers min (${min}) cannot exceed max (${max})`);
}

/** A rule about one option alone: `{option} must be {words}, got {value}`. */
type Rule = readonly [words: string, isFine: Test, ...options: string[]];

const RULES: readonly Rule[] = [
  ["a non-empty string", TEXT, "id", "image"],
  ["a whole number >= 1", WHOLE_FROM_1, "gpuCount", "keyConcurrency"],
  ["a whole number >= 0", WHOLE_FROM_0, "executionTimeoutMs", "retries"],
  ["a number >= 1", (value) => isWithin(value, 1, Infinity), "scalerValue"],
  [
    "a list of package names",
    (value) => Array.isArray(value) && value.every(TEXT),
    "dependencies",
    "systemDependencies",
  ],
  ["true or false", (value) => typeof value === "boolean", "accelerateDownloads", "flashboot"],
  [
    "one of QUEUE_DELAY, REQUEST_COUNT",
    (value) => valuesOf(ServerlessScalerType).includes(value as string),
    "scalerType",
  ],
];

function checkRules(given: Given, note: Note): void {
  for (const [words, isFine, ...options] of RULES) {
    for (const option of options) {
      const value = given[option];
      if (value === undefined || isFine(value)) continue;
      note(option, `${option} must be ${words}, got ${show(value)}`);
    }
  }
  const { maxConcurrency, idleTimeoutS } = given;
  if (maxConcurrency !== undefined && !WHOLE_FROM_1(maxConcurrency)) {
    note(
      "maxConcurrency",
      `max_concurrency must be >= 1, got ${show(maxConcurrency)}`,
      "Set maxConcurrency to a whole number of 1 or more.",
    );
  }
  if (idleTimeoutS !== undefined && !isWithin(idleTimeoutS, 1, 3600)) {
    note(
      "idleTimeoutS",
      "idleTimeout must be between 1 and 3600 seconds",
      `idleTimeoutS is in seconds, got ${show(idleTimeoutS)}.`,
    );
  }
  for (const option of ["input", "output"]) {
    const value = given[option];
    if (value === undefined || isStandardSchema(value)) continue;
    note(
      option,
      `${option} must be a Standard Schema, got ${describe(value)}`,
      "Pass a schema of zod, valibot, arktype or any Standard Schema library.",
    );
  }
}

/** Some libraries' schemas are functions. */
function isStandardSchema(value: unknown): boolean {
  const { "~standard": standard } = (value ?? {}) as { "~standard"?: { validate?: unknown } };
  return typeof standard?.validate === "function";
}
