/**
 * Everything that can be wrong with endpoint options. Pure: the SDK throws the first mistake, the
 * compiler reports all of them. Texts are the original's where it has one. Every client bundle
 * carries this file, since declaring is synchronous: rules of one shape are rows of a table.
 */

import {
  CPU_DATACENTERS,
  CpuInstanceType,
  CudaVersion,
  DataCenter,
  GpuGroup,
  GpuType,
  ServerlessScalerType,
  cpuInstance,
} from "./hardware.ts";
import { checkName, closest } from "./names.ts";
import type {
  EndpointKind,
  EndpointOptions,
  NetworkVolumeOptions,
  PodTemplateOptions,
} from "./options.ts";
import { isSecretReference, secretNameMistake } from "./secrets.ts";

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

/** Options as JavaScript without types may hand them in. */
type Given = Readonly<Record<string, unknown>>;
/** Notes a mistake. */
type Note = (option: string, message: string, hint?: string) => void;

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

/** The keys that `label` does not have, each with what to say about it. */
function unknownKeys(
  label: string,
  given: object,
  known: readonly string[],
): [key: string, message: string][] {
  const unknown = Object.keys(given).filter((key) => !known.includes(key));
  return unknown.map((key) => {
    const camelCase = key.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
    const near = closest(camelCase, known);
    const advice = near === undefined ? "" : ` (Did you mean '${near}'?)`;
    return [key, `${label}() got unknown option: '${key}'${advice}`];
  });
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
type Test = (value: unknown) => boolean;

const WHOLE_FROM_0: Test = (value) => isWhole(value, 0, Infinity);
const WHOLE_FROM_1: Test = (value) => isWhole(value, 1, Infinity);
const TEXT: Test = (value) => typeof value === "string" && value.trim() !== "";

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

function checkPlacement({ minCudaVersion, datacenter, cpu, volume }: Given, note: Note): void {
  const versions = valuesOf(CudaVersion);
  if (minCudaVersion !== undefined && !versions.includes(minCudaVersion as string)) {
    const got = typeof minCudaVersion === "string" ? minCudaVersion : show(minCudaVersion);
    const hint = `Valid, as strings: ${versions.join(", ")}.`;
    note("minCudaVersion", `'${got}' is not a valid CudaVersion`, hint);
  }
  const centers = datacenter === undefined ? [] : listOf(datacenter);
  for (const center of centers) {
    const wrong = dataCenterMistake(center);
    if (wrong !== undefined) note("datacenter", wrong);
  }
  if (datacenter !== undefined && centers.length === 0) {
    note("datacenter", "datacenter list must not be empty");
  }
  const ids = centers.flatMap((center) => knownDataCenter(center) ?? []);
  const wrong = ids.filter((id) => !(CPU_DATACENTERS as readonly string[]).includes(id));
  if (cpu !== undefined && wrong.length > 0) {
    note(
      "datacenter",
      `CPU endpoints are not available in: ${wrong.join(", ")}. Supported CPU data centers: ${CPU_DATACENTERS.join(", ")}`,
    );
  }
  if (volume !== undefined) checkVolumes(volume, ids, (message) => note("volume", message));
}

function knownDataCenter(value: unknown): string | undefined {
  const id = typeof value === "string" ? dataCenterId(value) : "";
  return valuesOf(DataCenter).includes(id) ? id : undefined;
}

function dataCenterMistake(value: unknown): string | undefined {
  if (typeof value !== "string") return `Invalid datacenter value: ${show(value)}`;
  if (knownDataCenter(value) !== undefined) return undefined;
  return `Unknown datacenter '${value}'. Valid datacenters: ${valuesOf(DataCenter).join(", ")}`;
}

function checkVolumes(
  volume: unknown,
  centers: readonly string[],
  note: (message: string) => void,
): void {
  if (!isRecord(volume) && !Array.isArray(volume)) {
    note(`volume must be a NetworkVolume or list of NetworkVolume, got ${describe(volume)}`);
    return;
  }
  const list = listOf<unknown>(volume);
  if (list.length === 0) note("volume list must not be empty");
  const taken = new Map<string, string>();
  for (const [index, item] of list.entries()) {
    if (isRecord(item)) {
      for (const [, message] of unknownKeys("NetworkVolume", item, VOLUME_KEYS)) note(message);
      for (const message of checkVolume(item)) note(message);
      checkVolumePlace(item, { centers, taken, note });
    } else {
      note(
        `volume list elements must be NetworkVolume; element at index ${index} is ${describe(item)}`,
      );
    }
  }
}

/** At most one volume for each data centre, and only where the endpoint may run. */
function checkVolumePlace(
  { datacenter, id, name }: NetworkVolumeOptions,
  {
    centers,
    taken,
    note,
  }: { centers: readonly string[]; taken: Map<string, string>; note: (message: string) => void },
): void {
  // A volume known only by id says nothing about where it is.
  if (datacenter === undefined && id !== undefined) return;
  const center = knownDataCenter(datacenter ?? DataCenter.EU_RO_1);
  if (center === undefined) return;
  const label = name ?? id ?? "";
  const other = taken.get(center);
  taken.set(center, label);
  if (other !== undefined) {
    note(
      `Multiple volumes in datacenter ${center} ('${other}' and '${label}'). Only one network volume is allowed per datacenter.`,
    );
  }
  if (centers.length > 0 && !centers.includes(center)) {
    note(
      `Network volume datacenter (${center}) is not in the endpoint's datacenter list (${centers.join(", ")})`,
    );
  }
}

const VOLUME_KEYS = ["name", "id", "size", "datacenter"] as const;

/** Mistakes of one network volume. Source: spec/sdk.md 15. */
export function checkVolume(volume: NetworkVolumeOptions): string[] {
  const { name, id, size, datacenter } = volume as Given;
  const mistakes: string[] = [];
  if (name === undefined && id === undefined) {
    mistakes.push("either 'name' or 'id' must be provided");
  }
  for (const [key, value] of Object.entries({ name, id })) {
    if (value === undefined || TEXT(value)) continue;
    mistakes.push(
      typeof value === "string"
        ? `${key} must not be empty or whitespace-only`
        : `${key} must be a string, got ${describe(value)}`,
    );
  }
  if (size !== undefined && !isWhole(size, 10, 4096)) {
    mistakes.push(`size must be a whole number of GB from 10 to 4096, got ${show(size)}`);
  }
  const place = datacenter === undefined ? undefined : dataCenterMistake(datacenter);
  return place === undefined ? mistakes : [...mistakes, place];
}

function checkEnv(option: string, env: unknown, note: Note): void {
  if (env === undefined) return;
  if (!isRecord(env)) {
    note(option, `${option} must be an object of strings, got ${describe(env)}`);
    return;
  }
  for (const [key, value] of Object.entries(env)) {
    if (key === "" || key.includes("=") || key.includes("\0")) {
      note(option, `${option} has the name ${show(key)}, which no variable can have`);
    } else if (option === "env" && isSecretReference(value)) {
      const wrong = secretNameMistake(value.secret);
      if (wrong !== undefined) note(option, `${option}.${key}: the name of a secret ${wrong}`);
    } else if (typeof value !== "string") {
      note(
        option,
        `${option}.${key} must be a string, got ${describe(value)}`,
        'Environment variables are text; give a default, as in process.env.KEY ?? "".',
      );
    }
  }
}

/** Type of each key of {@link PodTemplateOptions}. */
const TEMPLATE_KEYS: Record<keyof PodTemplateOptions, "string" | "boolean" | "number" | "object"> =
  {
    id: "string",
    name: "string",
    imageName: "string",
    containerDiskInGb: "number",
    dockerArgs: "string",
    ports: "string",
    startScript: "string",
    advancedStart: "boolean",
    containerRegistryAuthId: "string",
    env: "object",
    config: "object",
  };

function checkTemplate(template: unknown, note: Note): void {
  const option = "template";
  if (template === undefined) return;
  if (!isRecord(template)) {
    note(option, `template must be a PodTemplate, got ${describe(template)}`);
    return;
  }
  const known = Object.keys(TEMPLATE_KEYS);
  for (const [, message] of unknownKeys("PodTemplate", template, known)) note(option, message);
  for (const [key, kind] of Object.entries(TEMPLATE_KEYS)) {
    const value = template[key];
    if (value === undefined || key === "env") continue;
    const isDisk = key === "containerDiskInGb";
    if (isDisk ? WHOLE_FROM_1(value) : describe(value) === kind) continue;
    const words = isDisk ? "a whole number of GB >= 1" : `a ${kind}`;
    note(option, `template.${key} must be ${words}, got ${show(value)}`);
  }
  checkEnv("template.env", template["env"], (_, message) => note(option, message));
}

/** Some libraries' schemas are functions. */
function isStandardSchema(value: unknown): boolean {
  const { "~standard": standard } = (value ?? {}) as { "~standard"?: { validate?: unknown } };
  return typeof standard?.validate === "function";
}

/** An object that is no list, and not null. */
export function isRecord(value: unknown): value is Record<string, unknown> {
  return describe(value) === "object";
}

function isWithin(value: unknown, least: number, most: number): boolean {
  return Number.isFinite(value) && (value as number) >= least && (value as number) <= most;
}

function isWhole(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && isWithin(value, least, most);
}

function valuesOf(constants: Readonly<Record<string, string>>): string[] {
  return Object.values(constants);
}

/** `typeof`, with words of their own for null and lists. */
export function describe(value: unknown): string {
  if (value === null) return "null";
  return Array.isArray(value) ? "array" : typeof value;
}

function show(value: unknown): string {
  if (typeof value === "number" || typeof value === "bigint") return String(value);
  if (typeof value === "function") return "a function";
  try {
    return JSON.stringify(value) ?? String(value);
  } catch {
    return describe(value);
  }
}

/** `[min, max]` of the option; the default is `[0, 1]`. */
export function workersOf(workers: EndpointOptions["workers"]): readonly [number, number] {
  if (workers === undefined) return [0, 1];
  return typeof workers === "number" ? [0, workers] : workers;
}

/** One value, or a list of them, as a list. */
export function listOf<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? (value as readonly T[]) : [value as T];
}

/** `eu_ro_1` and `EU-RO-1` are the same data centre. */
export function dataCenterId(name: string): string {
  return name.toUpperCase().replaceAll("_", "-");
}
