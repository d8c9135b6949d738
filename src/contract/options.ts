/**
 * Endpoint options: what a user writes, what is wrong with it, and the one resolved form that the
 * manifest carries to every cloud. Error texts are those of the original where it has one.
 */

import { FlashError } from "./errors.ts";
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
import { LIMITS } from "./limits.ts";

/** Where a {@link https://standardschema.dev Standard Schema} validates instead of the types. */
export interface StandardSchema<Output = unknown> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => StandardResult<Output> | Promise<StandardResult<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

export type StandardResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | {
      readonly issues: readonly {
        readonly message: string;
        readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
      }[];
    };

/** A network volume, mounted at `/runpod-volume/`. */
export interface NetworkVolumeOptions {
  /** Name, unique per data centre. Either `name` or `id` is required. */
  name?: string;
  /** Id of an existing volume. */
  id?: string;
  /** Size in GB, 10 to 4096. Default 100. */
  size?: number;
  /** Default EU-RO-1. */
  datacenter?: DataCenter;
}

/** Container settings of an endpoint. */
export interface PodTemplateOptions {
  /** Id of an existing template of the cloud. */
  id?: string;
  name?: string;
  imageName?: string;
  /** Container disk in GB. Default 64; on CPU the instance's limit. */
  containerDiskInGb?: number;
  dockerArgs?: string;
  ports?: string;
  startScript?: string;
  advancedStart?: boolean;
  containerRegistryAuthId?: string;
  env?: Record<string, string>;
  config?: Record<string, unknown>;
}

/** What `Endpoint(options)` takes. Every key is optional but for `name` on load-balanced endpoints. */
export interface EndpointOptions {
  /**
   * Name, unique in the app: letters, digits, `-`, `_` and `.`, at most 63 characters. A queue
   * endpoint without a name takes the name of its export, function or class.
   */
  name?: string;
  /** Attach to an existing endpoint: the result is a client. Excludes `image`. */
  id?: string;
  /** Deploy this container image: the result is a client. Needs `name`. */
  image?: string;
  /** GPU group or type, or a list of them in order of preference. Default any. Excludes `cpu`. */
  gpu?: GpuGroup | GpuType | readonly (GpuGroup | GpuType)[];
  /** CPU instance, or a list in order of preference. Excludes `gpu`. */
  cpu?: CpuInstanceType | readonly CpuInstanceType[];
  /** `[min, max]`, or `max` alone. Default `[0, 1]`. */
  workers?: number | readonly [min: number, max: number];
  /** Seconds without work after which a worker stops, 1 to 3600. Default 60. */
  idleTimeoutS?: number;
  /** npm packages that stay outside the bundle and are installed for the worker. */
  dependencies?: readonly string[];
  /** Operating system packages (apt) of the worker's container. */
  systemDependencies?: readonly string[];
  /** Use faster installers on live workers. Default true. */
  accelerateDownloads?: boolean;
  /** Network volume, or at most one for each data centre. */
  volume?: NetworkVolumeOptions | readonly NetworkVolumeOptions[];
  /** Where workers may run. Default: anywhere. */
  datacenter?: DataCenter | readonly DataCenter[];
  /** Environment of the worker: the only way to pass variables, `.env` is never shipped. */
  env?: Readonly<Record<string, string>>;
  /** GPUs per worker. Default 1. */
  gpuCount?: number;
  /** Longest run of a job or request, ms. 0, the default, means the platform's limit (10 min for jobs). */
  executionTimeoutMs?: number;
  /** Fast start from a standby process. Default true. */
  flashboot?: boolean;
  /** Default `QUEUE_DELAY` for queue endpoints; load-balanced ones allow only `REQUEST_COUNT`. */
  scalerType?: ServerlessScalerType;
  /** QUEUE_DELAY: seconds a job may wait; REQUEST_COUNT: requests per worker. Default 4. */
  scalerValue?: number;
  template?: PodTemplateOptions;
  /** Lowest CUDA version of the host's driver. Default 12.8; ignored for CPU. */
  minCudaVersion?: CudaVersion;
  /** Jobs that one queue worker runs at once. Default 1. */
  maxConcurrency?: number;
  /** Further attempts after an attempt of a job threw an error. Queue endpoints only. Default 2. */
  retries?: number;
  /** Validates the input instead of the function's types. */
  input?: StandardSchema;
  /** Validates the result. */
  output?: StandardSchema;
}

export type EndpointKind = "qb" | "lb";

/** The resolved form: every option has a value. This is what the manifest carries. */
export interface ResolvedOptions {
  name: string;
  image: string | null;
  /** `null` on CPU endpoints. */
  gpu: readonly (GpuGroup | GpuType)[] | null;
  /** `null` on GPU endpoints. */
  cpu: readonly CpuInstanceType[] | null;
  gpuCount: number;
  workersMin: number;
  workersMax: number;
  idleTimeoutS: number;
  dependencies: readonly string[];
  systemDependencies: readonly string[];
  accelerateDownloads: boolean;
  volumes: readonly NetworkVolumeOptions[];
  /** Empty: anywhere. */
  datacenters: readonly string[];
  env: Readonly<Record<string, string>>;
  executionTimeoutMs: number;
  flashboot: boolean;
  scalerType: ServerlessScalerType;
  scalerValue: number;
  template: PodTemplateOptions | null;
  minCudaVersion: CudaVersion | null;
  maxConcurrency: number;
  retries: number;
}

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
  return [
    ...checkUnknown(options),
    ...checkIdentity(options),
    ...checkHardware(options),
    ...checkWorkers(options),
    ...checkNumbers(options),
    ...checkPlacement(options),
    ...checkLists(options),
    ...checkScaler(options, kind),
  ];
}

/** Resolves checked options. Throws `INVALID_OPTIONS` with the first mistake. */
export function resolveOptions(
  options: EndpointOptions,
  kind: EndpointKind,
  name: string,
): ResolvedOptions {
  const [mistake] = checkOptions(options, kind);
  if (mistake !== undefined) throw optionError(mistake);
  const isCpu = options.cpu !== undefined;
  const [workersMin, workersMax] = workersOf(options.workers);
  return {
    name,
    image: options.image ?? null,
    gpu: isCpu ? null : listOf(options.gpu ?? GpuGroup.ANY),
    cpu: options.cpu === undefined ? null : listOf(options.cpu),
    gpuCount: isCpu ? 0 : (options.gpuCount ?? 1),
    workersMin,
    workersMax,
    idleTimeoutS: options.idleTimeoutS ?? 60,
    dependencies: [...(options.dependencies ?? [])],
    systemDependencies: [...(options.systemDependencies ?? [])],
    accelerateDownloads: options.accelerateDownloads ?? true,
    volumes: options.volume === undefined ? [] : listOf(options.volume),
    datacenters:
      options.datacenter === undefined ? [] : listOf(options.datacenter).map(dataCenterId),
    env: { ...options.env },
    executionTimeoutMs: options.executionTimeoutMs ?? 0,
    flashboot: options.flashboot ?? true,
    scalerType: options.scalerType ?? (kind === "lb" ? "REQUEST_COUNT" : "QUEUE_DELAY"),
    scalerValue: options.scalerValue ?? 4,
    template: options.template ?? null,
    minCudaVersion: isCpu ? null : (options.minCudaVersion ?? CudaVersion.V12_8),
    maxConcurrency: options.maxConcurrency ?? 1,
    retries: options.retries ?? 2,
  };
}

export function optionError(mistake: OptionMistake): FlashError {
  return new FlashError("INVALID_OPTIONS", mistake.message, {
    details: { option: mistake.option },
    ...(mistake.hint === undefined ? {} : { hint: mistake.hint }),
  });
}

/** Names become file names, host names and URL segments. Returns the rest of a sentence, or undefined. */
export function checkName(name: unknown): string | undefined {
  if (typeof name !== "string") return `must be a string, got ${describe(name)}`;
  if (name.trim() === "") return "must not be empty or whitespace-only";
  if (name.length > LIMITS.nameLength) {
    return `must have at most ${LIMITS.nameLength} characters, got ${name.length}`;
  }
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name)) {
    return `may hold letters, digits, '-', '_' and '.', and starts with a letter or digit, got '${name}'`;
  }
  // `flash` is the pseudo endpoint of name-based calls, on both data planes.
  if (name.toLowerCase() === "flash") return "'flash' is reserved for calls by name";
  return undefined;
}

/** The closest known word, for "Did you mean …?". */
export function closest(word: string, known: readonly string[]): string | undefined {
  let best: string | undefined;
  let bestDistance = Math.max(2, Math.floor(word.length / 3)) + 1;
  for (const candidate of known) {
    const distance = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (distance < bestDistance) [best, bestDistance] = [candidate, distance];
  }
  return best;
}

function checkUnknown(options: EndpointOptions): OptionMistake[] {
  return Object.keys(options)
    .filter((key) => !(OPTION_NAMES as readonly string[]).includes(key))
    .map((key) => {
      const near = closest(camelCase(key), OPTION_NAMES);
      return {
        option: key,
        message: `Endpoint() got unknown option: '${key}'${near === undefined ? "" : ` (Did you mean '${near}'?)`}`,
      };
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
  return mistakes;
}

function checkHardware(options: EndpointOptions): OptionMistake[] {
  const mistakes: OptionMistake[] = [];
  const { gpu, cpu } = options as { gpu?: unknown; cpu?: unknown };
  if (gpu !== undefined) {
    const list: unknown[] = Array.isArray(gpu) ? gpu : [gpu];
    if (list.length === 0) mistakes.push({ option: "gpu", message: "gpu list must not be empty" });
    for (const item of list) {
      if (isGpuGroup(item) || isGpuType(item)) continue;
      mistakes.push({
        option: "gpu",
        message:
          typeof item === "string"
            ? `'${item}' is not a valid GpuGroup or GpuType`
            : `gpu must be a GpuGroup, GpuType, or list, got ${describe(item)}`,
      });
    }
  }
  if (cpu !== undefined) {
    const list: unknown[] = Array.isArray(cpu) ? cpu : [cpu];
    if (list.length === 0) mistakes.push({ option: "cpu", message: "cpu list must not be empty" });
    for (const item of list) {
      if (isCpuInstanceType(item)) continue;
      mistakes.push({
        option: "cpu",
        message:
          typeof item === "string"
            ? `'${item}' is not a valid CpuInstanceType`
            : `cpu must be a CpuInstanceType, string, or list, got ${describe(item)}`,
        ...(typeof item === "string"
          ? { hint: `Valid instances: ${Object.values(CpuInstanceType).join(", ")}.` }
          : {}),
      });
    }
    if (mistakes.length === 0) mistakes.push(...checkDisk(options, list as CpuInstanceType[]));
  }
  return mistakes;
}

function checkDisk(options: EndpointOptions, cpus: readonly CpuInstanceType[]): OptionMistake[] {
  const disk = options.template?.containerDiskInGb;
  if (disk === undefined) return [];
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
  const mistakes: OptionMistake[] = [];
  const cuda: unknown = options.minCudaVersion;
  if (cuda !== undefined && !(Object.values(CudaVersion) as unknown[]).includes(cuda)) {
    mistakes.push({
      option: "minCudaVersion",
      message: `'${typeof cuda === "string" ? cuda : show(cuda)}' is not a valid CudaVersion`,
    });
  }
  const centers: readonly unknown[] =
    options.datacenter === undefined ? [] : listOf(options.datacenter);
  const known: string[] = Object.values(DataCenter);
  const ids: string[] = [];
  for (const center of centers) {
    if (typeof center !== "string") {
      mistakes.push({ option: "datacenter", message: `Invalid datacenter value: ${show(center)}` });
    } else if (!known.includes(dataCenterId(center))) {
      mistakes.push({
        option: "datacenter",
        message: `Unknown datacenter '${center}'. Valid datacenters: ${known.join(", ")}`,
      });
    } else ids.push(dataCenterId(center));
  }
  if (options.cpu !== undefined) {
    const wrong = ids.filter((id) => !(CPU_DATACENTERS as readonly string[]).includes(id));
    if (wrong.length > 0) {
      mistakes.push({
        option: "datacenter",
        message: `CPU endpoints are not available in: ${wrong.join(", ")}. Supported CPU data centers: ${CPU_DATACENTERS.join(", ")}`,
      });
    }
  }
  return [...mistakes, ...checkVolumes(options, ids)];
}

function checkVolumes(options: EndpointOptions, centers: readonly string[]): OptionMistake[] {
  const volume: unknown = options.volume;
  if (volume === undefined) return [];
  if (typeof volume !== "object" || volume === null) {
    return [
      {
        option: "volume",
        message: `volume must be a NetworkVolume or list of NetworkVolume, got ${describe(volume)}`,
      },
    ];
  }
  const list: unknown[] = Array.isArray(volume) ? volume : [volume];
  if (list.length === 0) return [{ option: "volume", message: "volume list must not be empty" }];
  const mistakes: OptionMistake[] = [];
  const taken = new Map<string, string>();
  for (const [index, item] of list.entries()) {
    if (typeof item !== "object" || item === null || Array.isArray(item)) {
      mistakes.push({
        option: "volume",
        message: `volume list elements must be NetworkVolume; element at index ${index} is ${describe(item)}`,
      });
      continue;
    }
    const one = item as NetworkVolumeOptions;
    for (const message of checkVolume(one)) mistakes.push({ option: "volume", message });
    const center = dataCenterId(one.datacenter ?? DataCenter.EU_RO_1);
    const label = one.name ?? one.id ?? "";
    const other = taken.get(center);
    if (other !== undefined) {
      mistakes.push({
        option: "volume",
        message: `Multiple volumes in datacenter ${center} ('${other}' and '${label}'). Only one network volume is allowed per datacenter.`,
      });
    }
    taken.set(center, label);
    // A volume known only by id says nothing about where it is.
    const isPlaced = one.datacenter !== undefined || one.id === undefined;
    if (isPlaced && centers.length > 0 && !centers.includes(center)) {
      mistakes.push({
        option: "volume",
        message: `Network volume datacenter (${center}) is not in the endpoint's datacenter list (${centers.join(", ")})`,
      });
    }
  }
  return mistakes;
}

/** Mistakes of one network volume. Source: spec/sdk.md 15. */
export function checkVolume(volume: NetworkVolumeOptions): string[] {
  const mistakes: string[] = [];
  if (volume.name === undefined && volume.id === undefined) {
    mistakes.push("either 'name' or 'id' must be provided");
  }
  if (volume.name !== undefined && volume.name.trim() === "") {
    mistakes.push("name must not be empty or whitespace-only");
  }
  const size = volume.size ?? 100;
  if (!(Number.isInteger(size) && size >= 10 && size <= 4096)) {
    mistakes.push(`size must be a whole number of GB from 10 to 4096, got ${show(size)}`);
  }
  return mistakes;
}

function checkLists(options: EndpointOptions): OptionMistake[] {
  const mistakes: OptionMistake[] = [];
  for (const option of ["dependencies", "systemDependencies"] as const) {
    const list: unknown = options[option];
    if (list === undefined) continue;
    if (
      !Array.isArray(list) ||
      list.some((item) => typeof item !== "string" || item.trim() === "")
    ) {
      mistakes.push({
        option,
        message: `${option} must be a list of package names, got ${show(list)}`,
      });
    }
  }
  const env: unknown = options.env;
  if (env !== undefined) {
    if (typeof env !== "object" || env === null || Array.isArray(env)) {
      mistakes.push({
        option: "env",
        message: `env must be an object of strings, got ${describe(env)}`,
      });
    } else {
      for (const [key, value] of Object.entries(env)) {
        if (typeof value === "string") continue;
        mistakes.push({
          option: "env",
          message: `env.${key} must be a string, got ${describe(value)}`,
          hint: 'Environment variables are text; give a default, as in process.env.KEY ?? "".',
        });
      }
    }
  }
  return mistakes;
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

function workersOf(workers: EndpointOptions["workers"]): readonly [number, number] {
  if (workers === undefined) return [0, 1];
  return typeof workers === "number" ? [0, workers] : workers;
}

function listOf<T>(value: T | readonly T[]): readonly T[] {
  return Array.isArray(value) ? (value as readonly T[]) : [value as T];
}

/** `eu_ro_1` and `EU-RO-1` are the same data centre. */
function dataCenterId(name: string): string {
  return name.toUpperCase().replaceAll("_", "-");
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
  if (typeof value === "number" || typeof value === "function") return String(value);
  return JSON.stringify(value) ?? String(value);
}

function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = (previous[j - 1] ?? 0) + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, substitute));
    }
    previous = row;
  }
  return previous[b.length] ?? 0;
}
