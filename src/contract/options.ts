/**
 * Endpoint options, resolved: the one form that the manifest carries to every cloud. `option-types`
 * holds what a user writes, `option-checks` says what is wrong with it.
 */

import { FlashError } from "./flash-error.ts";
import { CudaVersion, DataCenter, GpuGroup, cpuInstance } from "./hardware.ts";
import { checkOptions, type OptionMistake } from "./option-checks.ts";
import type {
  EndpointKind,
  EndpointOptions,
  NetworkVolumeOptions,
  ResolvedOptions,
} from "./option-types.ts";
import { dataCenterId, listOf, workersOf } from "./option-values.ts";

export type {
  EndpointKind,
  EndpointOptions,
  NetworkVolumeOptions,
  PodTemplateOptions,
  ResolvedOptions,
  StandardResult,
  StandardSchema,
} from "./option-types.ts";
export { OPTION_NAMES, checkKind, checkOptions, type OptionMistake } from "./option-checks.ts";
export { checkVolume } from "./option-placement.ts";
export { describe, isRecord, workersOf } from "./option-values.ts";
export { checkName, closest } from "./names.ts";

/** Connections of a load-balanced worker that wait for something cost it little: streams, WebSockets. */
const LB_CONCURRENCY = 1000;

/** Requests for which a load-balanced endpoint has one worker, as long as it may have more of them. */
export function requestsPerWorker({
  scalerValue,
  maxConcurrency,
}: Pick<ResolvedOptions, "scalerValue" | "maxConcurrency">): number {
  return Math.min(scalerValue, maxConcurrency);
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
    volumes: options.volume === undefined ? [] : listOf(options.volume).map(resolveVolume),
    datacenters:
      options.datacenter === undefined ? [] : listOf(options.datacenter).map(dataCenterId),
    ...variablesOf(options.env),
    executionTimeoutMs: options.executionTimeoutMs ?? 0,
    flashboot: options.flashboot ?? true,
    scalerType: options.scalerType ?? (kind === "lb" ? "REQUEST_COUNT" : "QUEUE_DELAY"),
    scalerValue: options.scalerValue ?? 4,
    template: options.template ?? null,
    minCudaVersion: isCpu ? null : (options.minCudaVersion ?? CudaVersion.V12_8),
    maxConcurrency: options.maxConcurrency ?? (kind === "lb" ? LB_CONCURRENCY : 1),
    retries: options.retries ?? 2,
    keyConcurrency: options.keyConcurrency ?? 1,
  };
}

/** Plain variables, and those that refer to a secret. */
function variablesOf(
  env: NonNullable<EndpointOptions["env"]> = {},
): Required<Pick<ResolvedOptions, "env" | "secrets">> {
  const plain: Record<string, string> = {};
  const secrets: Record<string, string> = {};
  for (const [name, value] of Object.entries(env)) {
    if (typeof value === "string") plain[name] = value;
    else secrets[name] = value.secret;
  }
  return { env: plain, secrets };
}

export function optionError(mistake: OptionMistake): FlashError {
  return new FlashError("INVALID_OPTIONS", mistake.message, {
    details: { option: mistake.option },
    ...(mistake.hint === undefined ? {} : { hint: mistake.hint }),
  });
}

/**
 * Container disk of a worker in GB: what the template says, else 64, on CPU what the smallest of the
 * instances allows. Source: spec/sdk.md 14.4.
 */
export function containerDiskGb({ template, cpu }: ResolvedOptions): number {
  const most = cpu === null ? 64 : Math.min(...cpu.map((one) => cpuInstance(one).maxDiskGb));
  return template?.containerDiskInGb ?? most;
}

function resolveVolume(volume: NetworkVolumeOptions): NetworkVolumeOptions {
  const { datacenter, id } = volume;
  const place = datacenter ?? (id === undefined ? DataCenter.EU_RO_1 : undefined);
  return {
    ...volume,
    ...(id === undefined ? { size: volume.size ?? 100 } : {}),
    ...(place === undefined ? {} : { datacenter: dataCenterId(place) as DataCenter }),
  };
}
