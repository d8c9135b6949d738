/** What can be wrong with where an endpoint is to run: data centres, CUDA, network volumes. */

import { CPU_DATACENTERS, CudaVersion, DataCenter } from "./hardware.ts";
import type { NetworkVolumeOptions } from "./option-types.ts";
import {
  TEXT,
  dataCenterId,
  describe,
  isRecord,
  isWhole,
  listOf,
  show,
  unknownKeys,
  valuesOf,
  type Given,
  type Note,
} from "./option-values.ts";

export function checkPlacement(
  { minCudaVersion, datacenter, cpu, volume }: Given,
  note: Note,
): void {
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
