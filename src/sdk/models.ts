/** Parts of an endpoint's options that may be written as objects of their own. */

import {
  checkVolume,
  closest,
  optionError,
  type NetworkVolumeOptions,
  type OptionMistake,
  type PodTemplateOptions,
} from "../contract/options.ts";
import type { DataCenter } from "../contract/hardware.ts";
import type { AnyFunction } from "../contract/registry.ts";
import { refuse } from "./declare.ts";

/** A network volume, mounted at `/runpod-volume/`. Throws `INVALID_OPTIONS`. */
export class NetworkVolume implements NetworkVolumeOptions {
  declare readonly name?: string;
  declare readonly id?: string;
  declare readonly size?: number;
  declare readonly datacenter?: DataCenter;

  constructor(options: NetworkVolumeOptions) {
    const known = ["name", "id", "size", "datacenter"];
    const mistakes = checkVolume(options).map((message) => ({ option: "volume", message }));
    take(this, options, { known, mistakes, label: "NetworkVolume", entry: new.target });
  }
}

/** Container settings of an endpoint. Throws `INVALID_OPTIONS` for unknown ones. */
export class PodTemplate implements PodTemplateOptions {
  declare readonly id?: string;
  declare readonly name?: string;
  declare readonly imageName?: string;
  declare readonly containerDiskInGb?: number;
  declare readonly dockerArgs?: string;
  declare readonly ports?: string;
  declare readonly startScript?: string;
  declare readonly advancedStart?: boolean;
  declare readonly containerRegistryAuthId?: string;
  declare readonly env?: Record<string, string>;
  declare readonly config?: Record<string, unknown>;

  constructor(options: PodTemplateOptions = {}) {
    const known = [
      "id",
      "name",
      "imageName",
      "containerDiskInGb",
      "dockerArgs",
      "ports",
      "startScript",
      "advancedStart",
      "containerRegistryAuthId",
      "env",
      "config",
    ];
    take(this, options, { known, mistakes: [], label: "PodTemplate", entry: new.target });
  }
}

function take(
  target: object,
  options: object,
  rules: { known: string[]; mistakes: OptionMistake[]; label: string; entry: unknown },
): void {
  const { known, mistakes, label } = rules;
  const unknown = Object.keys(options)
    .filter((key) => !known.includes(key))
    .map((key) => unknownOption(label, key, known));
  for (const mistake of [...unknown, ...mistakes]) {
    refuse(optionError(mistake), rules.entry as AnyFunction);
  }
  Object.assign(target, options);
}

/** `NetworkVolume() got unknown option: 'sise' (Did you mean 'size'?)`. */
export function unknownOption(label: string, key: string, known: readonly string[]): OptionMistake {
  const near = closest(key, known);
  const advice = near === undefined ? "" : ` (Did you mean '${near}'?)`;
  return { option: key, message: `${label}() got unknown option: '${key}'${advice}` };
}
