/**
 * Everything that can be wrong with endpoint options. Pure: the SDK throws the first mistake, the
 * compiler reports all of them. Texts are the original's where it has one.
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
  isCpuInstanceType,
  isGpuGroup,
  isGpuType,
} from "./hardware.ts";
import { checkName, closest } from "./names.ts";
import type {
  EndpointKind,
  EndpointOptions,
  NetworkVolumeOptions,
  PodTemplateOptions,
} from "./options.ts";

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
  if (!isRecord(options)) {
    const message = `Endpoint() takes an object of options, got ${describe(options)}`;
    return [{ option: "options", message }];
  }
  return [
    ...checkUnknown(options),
    ...checkIdentity(options),
    ...checkHardware(options),
    ...checkWorkers(options),
    ...checkNumbers(options),
    ...checkPlacement(options),
    ...checkLists(options),
    ...checkEnv("env", options.env),
    ...checkTemplate(options.template),
    ...checkKinds(options),
    ...checkScaler(options, kind),
  ];
}

function checkUnknown(options: EndpointOptions): OptionMistake[] {
  return unknownKeys(options, OPTION_NAMES).map(({ key, near }) => ({
    option: key,
    message: `Endpoint() got unknown option: '${key}'${near}`,
  }));
}

function unknownKeys(
  object: object,
  known: readonly string[],
): { key: string; /** ` (Did you mean …?)`, or nothing. */ near: string }[] {
  return Object.keys(object)
    .filter((key) => !known.includes(key))
    .map((key) => {
      const near = closest(camelCase(key), known);
      return { key, near: near === undefined ? "" : ` (Did you mean '${near}'?)` };
    });
}

function checkIdentity(options: EndpointOptions): OptionMistake[] {
  const mistakes: OptionMistake[] = [];
  if (options.gpu !== undefined && options.cpu !== undefined) {
    mistakes.push({
      option: "gpu",
      message: "gpu and cpu are mutually exclusive. specify one or neither.",
    });
  }
  if (options.id !== undefined && options.image !== undefined) {
    mistakes.push({
      option: "id",
      message:
        "id and image are mutually exclusive. id= connects to an existing endpoint, image= deploys a new one.",
    });
  }
  if (options.image !== undefined && options.name === undefined && options.id === undefined) {
    mistakes.push({ option: "name", message: "name or id is required when image= is set." });
  }
  if (options.name !== undefined) {
    const wrong = checkName(options.name);
    if (wrong !== undefined) mistakes.push({ option: "name", message: `name ${wrong}` });
  }
  for (const option of ["id", "image"] as const) {
    const value: unknown = options[option];
    if (value === undefined || (typeof value === "string" && value.trim() !== "")) continue;
    mistakes.push({ option, message: `${option} must be a non-empty string, got ${show(value)}` });
  }
  return mistakes;
}

function checkHardware(options: EndpointOptions): OptionMistake[] {
  const gpu = checkChoice("gpu", options.gpu, {
    isValid: (item) => isGpuGroup(item) || isGpuType(item),
    words: "GpuGroup or GpuType",
    kinds: "a GpuGroup, GpuType, or list",
    known: [...Object.values(GpuGroup), ...Object.values(GpuType)],
  });
  const cpu = checkChoice("cpu", options.cpu, {
    isValid: isCpuInstanceType,
    words: "CpuInstanceType",
    kinds: "a CpuInstanceType, string, or list",
    known: Object.values(CpuInstanceType),
  });
  const isCpuFine = options.cpu !== undefined && cpu.length === 0;
  return [
    ...gpu,
    ...cpu,
    ...(isCpuFine ? checkDisk(options, listOf(options.cpu as CpuInstanceType)) : []),
  ];
}

interface Choice {
  isValid: (item: unknown) => boolean;
  /** What an unknown word is not: `'x' is not a valid {words}`. */
  words: string;
  /** What else was expected: `gpu must be {kinds}, got number`. */
  kinds: string;
  known: readonly string[];
}

function checkChoice(
  option: "gpu" | "cpu",
  value: unknown,
  { isValid, words, kinds, known }: Choice,
): OptionMistake[] {
  if (value === undefined) return [];
  const list = listOf(value);
  if (list.length === 0) return [{ option, message: `${option} list must not be empty` }];
  return list
    .filter((item) => !isValid(item))
    .map((item) => {
      if (typeof item !== "string") {
        return { option, message: `${option} must be ${kinds}, got ${describe(item)}` };
      }
      const near = closest(item, known);
      return {
        option,
        message: `'${item}' is not a valid ${words}`,
        hint: near === undefined ? `Valid: ${known.join(", ")}.` : `Did you mean '${near}'?`,
      };
    });
}

function checkDisk(options: EndpointOptions, cpus: readonly CpuInstanceType[]): OptionMistake[] {
  const disk = (options.template as PodTemplateOptions | null | undefined)?.containerDiskInGb;
  if (typeof disk !== "number") return [];
  const limits = cpus.map((cpu) => ({ cpu, max: cpuInstance(cpu).maxDiskGb }));
  const smallest = Math.min(...limits.map((limit) => limit.max));
  if (disk <= smallest) return [];
  const listed = limits.map(({ cpu, max }) => `${cpu}: max ${max}GB`).join(", ");
  return [
    {
      option: "template",
      message:
        `Container disk size ${disk}GB exceeds the maximum allowed for CPU instances. ` +
        `Instance limits: ${listed}. Maximum allowed: ${smallest}GB`,
    },
  ];
}

function checkWorkers(options: EndpointOptions): OptionMistake[] {
  const workers: unknown = options.workers;
  if (workers === undefined) return [];
  const isPair = Array.isArray(workers) && workers.length === 2 && workers.every(Number.isInteger);
  if (!Number.isInteger(workers) && !isPair) {
    return [
      {
        option: "workers",
        message: `workers must be an int or (min, max) tuple, got ${describe(workers)}: ${show(workers)}`,
        hint: "Write workers: [0, 3], or workers: 3 for (0, 3).",
      },
    ];
  }
  const [min, max] = workersOf(workers as number | [number, number]);
  if (min < 0 || max < 0) {
    return [{ option: "workers", message: `workers cannot be negative: (${min}, ${max})` }];
  }
  if (min > max) {
    return [{ option: "workers", message: `workers min (${min}) cannot exceed max (${max})` }];
  }
  return [];
}

function checkNumbers(options: EndpointOptions): OptionMistake[] {
  const mistakes: OptionMistake[] = [];
  const { maxConcurrency, idleTimeoutS, gpuCount, executionTimeoutMs, retries, scalerValue } =
    options;
  if (maxConcurrency !== undefined && !(Number.isInteger(maxConcurrency) && maxConcurrency >= 1)) {
    mistakes.push({
      option: "maxConcurrency",
      message: `max_concurrency must be >= 1, got ${show(maxConcurrency)}`,
      hint: "Set maxConcurrency to a whole number of 1 or more.",
    });
  }
  if (
    idleTimeoutS !== undefined &&
    !(Number.isFinite(idleTimeoutS) && idleTimeoutS >= 1 && idleTimeoutS <= 3600)
  ) {
    mistakes.push({
      option: "idleTimeoutS",
      message: "idleTimeout must be between 1 and 3600 seconds",
      hint: `idleTimeoutS is in seconds, got ${show(idleTimeoutS)}.`,
    });
  }
  const rules: [string, unknown, number, boolean][] = [
    ["gpuCount", gpuCount, 1, true],
    ["executionTimeoutMs", executionTimeoutMs, 0, true],
    ["retries", retries, 0, true],
    ["scalerValue", scalerValue, 1, false],
  ];
  for (const [option, value, least, isWhole] of rules) {
    if (value === undefined) continue;
    const isFine = isWhole ? Number.isInteger(value) : Number.isFinite(value);
    if (isFine && (value as number) >= least) continue;
    mistakes.push({
      option,
      message: `${option} must be a ${isWhole ? "whole " : ""}number >= ${least}, got ${show(value)}`,
    });
  }
  return mistakes;
}

function checkPlacement(options: EndpointOptions): OptionMistake[] {
  const { mistakes, ids } = checkDataCenters(options.datacenter);
  return [
    ...checkCuda(options.minCudaVersion),
    ...mistakes,
    ...checkCpuPlaces(options, ids),
    ...checkVolumes(options, ids),
  ];
}

function checkCuda(version: unknown): OptionMistake[] {
  const known: readonly unknown[] = Object.values(CudaVersion);
  if (version === undefined || known.includes(version)) return [];
  return [
    {
      option: "minCudaVersion",
      message: `'${typeof version === "string" ? version : show(version)}' is not a valid CudaVersion`,
      hint: `Valid, as strings: ${known.join(", ")}.`,
    },
  ];
}

function checkDataCenters(value: unknown): { mistakes: OptionMistake[]; ids: string[] } {
  const option = "datacenter";
  const centers = value === undefined ? [] : listOf(value);
  const ids = centers.flatMap((center) => knownDataCenter(center) ?? []);
  const mistakes = centers.flatMap((center) => {
    const message = dataCenterMistake(center);
    return message === undefined ? [] : [{ option, message }];
  });
  if (value !== undefined && centers.length === 0) {
    mistakes.push({ option, message: "datacenter list must not be empty" });
  }
  return { mistakes, ids };
}

function knownDataCenter(value: unknown): string | undefined {
  if (typeof value !== "string") return undefined;
  const id = dataCenterId(value);
  return (Object.values(DataCenter) as string[]).includes(id) ? id : undefined;
}

function dataCenterMistake(value: unknown): string | undefined {
  if (typeof value !== "string") return `Invalid datacenter value: ${show(value)}`;
  if (knownDataCenter(value) !== undefined) return undefined;
  return `Unknown datacenter '${value}'. Valid datacenters: ${Object.values(DataCenter).join(", ")}`;
}

function checkCpuPlaces(options: EndpointOptions, ids: readonly string[]): OptionMistake[] {
  if (options.cpu === undefined) return [];
  const wrong = ids.filter((id) => !(CPU_DATACENTERS as readonly string[]).includes(id));
  if (wrong.length === 0) return [];
  return [
    {
      option: "datacenter",
      message: `CPU endpoints are not available in: ${wrong.join(", ")}. Supported CPU data centers: ${CPU_DATACENTERS.join(", ")}`,
    },
  ];
}

function checkVolumes(options: EndpointOptions, centers: readonly string[]): OptionMistake[] {
  const option = "volume";
  const volume: unknown = options.volume;
  if (volume === undefined) return [];
  if (!isRecord(volume) && !Array.isArray(volume)) {
    const got = describe(volume);
    return [
      { option, message: `volume must be a NetworkVolume or list of NetworkVolume, got ${got}` },
    ];
  }
  const list = listOf<unknown>(volume);
  if (list.length === 0) return [{ option, message: "volume list must not be empty" }];
  const taken = new Map<string, string>();
  const messages = list.flatMap((item, index) =>
    isRecord(item)
      ? unknownKeys(item, VOLUME_KEYS)
          .map(({ key, near }) => `NetworkVolume() got unknown option: '${key}'${near}`)
          .concat(checkVolume(item), checkVolumePlace(item, centers, taken))
      : [
          `volume list elements must be NetworkVolume; element at index ${index} is ${describe(item)}`,
        ],
  );
  return messages.map((message) => ({ option, message }));
}

/** At most one volume for each data centre, and only where the endpoint may run. */
function checkVolumePlace(
  volume: NetworkVolumeOptions,
  centers: readonly string[],
  taken: Map<string, string>,
): string[] {
  // A volume known only by id says nothing about where it is.
  if (volume.datacenter === undefined && volume.id !== undefined) return [];
  const center = knownDataCenter(volume.datacenter ?? DataCenter.EU_RO_1);
  if (center === undefined) return [];
  const label = volume.name ?? volume.id ?? "";
  const other = taken.get(center);
  taken.set(center, label);
  const mistakes: string[] = [];
  if (other !== undefined) {
    mistakes.push(
      `Multiple volumes in datacenter ${center} ('${other}' and '${label}'). Only one network volume is allowed per datacenter.`,
    );
  }
  if (centers.length > 0 && !centers.includes(center)) {
    mistakes.push(
      `Network volume datacenter (${center}) is not in the endpoint's datacenter list (${centers.join(", ")})`,
    );
  }
  return mistakes;
}

const VOLUME_KEYS = ["name", "id", "size", "datacenter"] as const;

/** Mistakes of one network volume. Source: spec/sdk.md 15. */
export function checkVolume(volume: NetworkVolumeOptions): string[] {
  const { name, id, size, datacenter } = volume as Record<string, unknown>;
  const mistakes: string[] = [];
  if (name === undefined && id === undefined) {
    mistakes.push("either 'name' or 'id' must be provided");
  }
  for (const [key, value] of Object.entries({ name, id })) {
    if (value === undefined || (typeof value === "string" && value.trim() !== "")) continue;
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

function checkLists(options: EndpointOptions): OptionMistake[] {
  return (["dependencies", "systemDependencies"] as const).flatMap((option) => {
    const list: unknown = options[option];
    const isFine =
      list === undefined ||
      (Array.isArray(list) && list.every((item) => typeof item === "string" && item.trim() !== ""));
    if (isFine) return [];
    return [{ option, message: `${option} must be a list of package names, got ${show(list)}` }];
  });
}

function checkEnv(option: string, env: unknown): OptionMistake[] {
  if (env === undefined) return [];
  if (!isRecord(env)) {
    return [{ option, message: `${option} must be an object of strings, got ${describe(env)}` }];
  }
  return Object.entries(env).flatMap(([key, value]) => {
    if (key === "" || key.includes("=") || key.includes("\0")) {
      return [
        { option, message: `${option} has the name ${show(key)}, which no variable can have` },
      ];
    }
    if (typeof value === "string") return [];
    return [
      {
        option,
        message: `${option}.${key} must be a string, got ${describe(value)}`,
        hint: 'Environment variables are text; give a default, as in process.env.KEY ?? "".',
      },
    ];
  });
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

function checkTemplate(template: unknown): OptionMistake[] {
  const option = "template";
  if (template === undefined) return [];
  if (!isRecord(template)) {
    return [{ option, message: `template must be a PodTemplate, got ${describe(template)}` }];
  }
  const mistakes = unknownKeys(template, Object.keys(TEMPLATE_KEYS)).map(({ key, near }) => ({
    option,
    message: `PodTemplate() got unknown option: '${key}'${near}`,
  }));
  for (const [key, kind] of Object.entries(TEMPLATE_KEYS)) {
    const value = template[key];
    if (value === undefined || key === "env") continue;
    const isFine =
      key === "containerDiskInGb" ? isWhole(value, 1, Infinity) : describe(value) === kind;
    if (isFine) continue;
    const words = key === "containerDiskInGb" ? "a whole number of GB >= 1" : `a ${kind}`;
    mistakes.push({ option, message: `template.${key} must be ${words}, got ${show(value)}` });
  }
  const { env } = template;
  for (const { message } of checkEnv("template.env", env)) mistakes.push({ option, message });
  return mistakes;
}

/** Options that only need to be of the right kind. */
function checkKinds(options: EndpointOptions): OptionMistake[] {
  const mistakes: OptionMistake[] = [];
  for (const option of ["accelerateDownloads", "flashboot"] as const) {
    const value: unknown = options[option];
    if (value === undefined || typeof value === "boolean") continue;
    mistakes.push({ option, message: `${option} must be true or false, got ${show(value)}` });
  }
  for (const option of ["input", "output"] as const) {
    const value: unknown = options[option];
    if (value === undefined || isStandardSchema(value)) continue;
    mistakes.push({
      option,
      message: `${option} must be a Standard Schema, got ${describe(value)}`,
      hint: "Pass a schema of zod, valibot, arktype or another library that implements Standard Schema.",
    });
  }
  return mistakes;
}

/** Some libraries' schemas are functions. */
function isStandardSchema(value: unknown): boolean {
  if ((typeof value !== "object" && typeof value !== "function") || value === null) return false;
  const standard = (value as { "~standard"?: { validate?: unknown } })["~standard"];
  return typeof standard?.validate === "function";
}

function checkScaler(options: EndpointOptions, kind: EndpointKind | undefined): OptionMistake[] {
  const { scalerType } = options;
  if (scalerType === undefined) return [];
  const known: string[] = Object.values(ServerlessScalerType);
  if (!known.includes(scalerType)) {
    return [
      {
        option: "scalerType",
        message: `scalerType must be one of ${known.join(", ")}, got ${show(scalerType)}`,
      },
    ];
  }
  if (kind !== "lb" || scalerType === "REQUEST_COUNT") return [];
  return [
    {
      option: "scalerType",
      message:
        "LoadBalancerSlsResource requires REQUEST_COUNT scaler, not QUEUE_DELAY. Load-balanced endpoints don't support queue-based scaling.",
    },
  ];
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isWhole(value: unknown, least: number, most: number): boolean {
  return Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
}

function camelCase(name: string): string {
  return name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function describe(value: unknown): string {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  return typeof value;
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
