/**
 * Which keys flash.toml has and what they may be: one table for the reader of the file, and for the
 * JSON Schema that editors check it with (`dist/flash.schema.json`, written by the build).
 */

import {
  CpuInstanceType,
  CudaVersion,
  DataCenter,
  GpuGroup,
  GpuType,
  ServerlessScalerType,
} from "../contract/hardware.ts";
import { LIMITS } from "../contract/limits.ts";
import type {
  EndpointOptions,
  NetworkVolumeOptions,
  PodTemplateOptions,
} from "../contract/options.ts";

/** Options of an endpoint that flash.toml may set. */
export type EndpointOverrides = Omit<EndpointOptions, "name" | "id" | "input" | "output">;

type Schema = Readonly<Record<string, unknown>>;

const TEXT: Schema = { type: "string", minLength: 1 };
const TEXTS: Schema = { type: "array", items: TEXT };
const VARIABLES: Schema = { type: "object", additionalProperties: { type: "string" } };
const SECRET: Schema = {
  type: "object",
  properties: { secret: { type: "string", pattern: "^[A-Za-z_][A-Za-z0-9_]{0,127}$" } },
  required: ["secret"],
  additionalProperties: false,
};
const NAME: Schema = {
  type: "string",
  pattern: "^[A-Za-z0-9][A-Za-z0-9._-]*$",
  maxLength: LIMITS.nameLength,
};

/** Sections with fixed keys. */
export const SECTIONS = {
  app: { name: { ...NAME, description: "Name of the app. Default: the folder's name." } },
  build: {
    include: {
      ...TEXTS,
      description: "Patterns of files to ship that no import names, written as in a .gitignore.",
    },
  },
  deploy: {
    target: { ...TEXT, description: "Base URL of the Flash server, or 'local'." },
    environment: { ...NAME, description: "Environment to work on without --env." },
  },
} as const satisfies Record<string, Record<string, Schema>>;

/** Keys of `[env.NAME]`. */
export const ENVIRONMENT_KEYS: readonly string[] = ["target", "endpoints"];

const OPTIONS: Record<keyof EndpointOverrides, Schema> = {
  image: { ...TEXT, description: "Container image to deploy." },
  gpu: {
    ...oneOrMany({
      enum: [
        ...new Set([
          ...Object.values(GpuGroup),
          ...Object.values(GpuType),
          ...Object.keys(GpuType).filter((key) => key !== "ANY"),
        ]),
      ],
    }),
    description: "GPU group or type, or a list in order of preference. Excludes cpu.",
  },
  cpu: {
    ...oneOrMany({ enum: Object.values(CpuInstanceType) }),
    description: "CPU instance, or a list in order of preference. Excludes gpu.",
  },
  workers: {
    anyOf: [whole(0), { type: "array", items: whole(0), minItems: 2, maxItems: 2 }],
    description: "[min, max], or max alone. Default [0, 1].",
  },
  idleTimeoutS: {
    type: "number",
    minimum: 1,
    maximum: 3600,
    description: "Seconds without work after which a worker stops. Default 60.",
  },
  dependencies: { ...TEXTS, description: "npm packages that are installed for the worker." },
  systemDependencies: { ...TEXTS, description: "Operating system packages of the container." },
  accelerateDownloads: { type: "boolean", description: "Faster installers on live workers." },
  volume: {
    ...oneOrMany(nested(volumeKeys())),
    description: "Network volume, one per data centre.",
  },
  datacenter: {
    ...oneOrMany({ type: "string", pattern: placePattern() }),
    description: "Where workers may run. Default: anywhere.",
  },
  env: {
    type: "object",
    additionalProperties: { anyOf: [{ type: "string" }, SECRET] },
    description:
      'Environment variables of the worker; they add up. { secret = "NAME" } is a secret.',
  },
  gpuCount: { ...whole(1), description: "GPUs per worker. Default 1." },
  executionTimeoutMs: { ...whole(0), description: "Longest run, ms. 0: the platform's limit." },
  flashboot: { type: "boolean", description: "Start from a standby process. Default true." },
  scalerType: { enum: Object.values(ServerlessScalerType), description: "What workers follow." },
  scalerValue: {
    type: "number",
    minimum: 1,
    description: "QUEUE_DELAY: seconds a job may wait; REQUEST_COUNT: requests per worker.",
  },
  template: { ...nested(templateKeys()), description: "Container settings." },
  minCudaVersion: { enum: Object.values(CudaVersion), description: "Lowest CUDA of the host." },
  maxConcurrency: {
    ...whole(1),
    description: "Jobs or requests that one worker has at once. Default 1, load-balanced 1000.",
  },
  keyConcurrency: { ...whole(1), description: "Jobs of one key that run at once." },
  retries: { ...whole(0), description: "Further attempts after a failed one. Default 2." },
};

/** Options that flash.toml may set. */
export const OVERRIDABLE = Object.keys(OPTIONS) as (keyof EndpointOverrides)[];

/** The JSON Schema (draft 7, which editors know) of the whole file. */
export function configSchema(): Schema {
  const endpoints = {
    type: "object",
    additionalProperties: { $ref: "#/definitions/endpoint" },
    description: "Options by endpoint; '*' means all of them.",
  };
  return {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "flash.toml",
    description: "Settings of a Flash project. Every section is optional.",
    type: "object",
    additionalProperties: false,
    properties: {
      ...Object.fromEntries(Object.entries(SECTIONS).map(([name, keys]) => [name, closed(keys)])),
      endpoints,
      env: {
        type: "object",
        description: "Where environments differ, by name. 'flash run' is the environment dev.",
        additionalProperties: closed({ target: SECTIONS.deploy.target, endpoints }),
      },
    },
    definitions: { endpoint: nested(OPTIONS) },
  };
}

function closed(properties: Record<string, Schema>): Schema {
  return { type: "object", additionalProperties: false, properties };
}

/** Keys of options may be written in camelCase and in snake_case. */
function nested(keys: Record<string, Schema>): Schema {
  const both = Object.entries(keys).flatMap(([key, schema]) => [
    [key, schema],
    [key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`), schema],
  ]);
  return closed(Object.fromEntries(both) as Record<string, Schema>);
}

function oneOrMany(one: Schema): Schema {
  return { anyOf: [one, { type: "array", items: one, minItems: 1 }] };
}

function whole(minimum: number): Schema {
  return { type: "integer", minimum };
}

/** `EU-RO-1`, `eu_ro_1` and what lies between are one data centre. */
function placePattern(): string {
  const letters = (id: string): string =>
    id.replaceAll(/[A-Z-]/g, (sign) => (sign === "-" ? "[-_]" : `[${sign}${sign.toLowerCase()}]`));
  return `^(${Object.values(DataCenter).map(letters).join("|")})$`;
}

function volumeKeys(): Record<keyof NetworkVolumeOptions, Schema> {
  return {
    name: TEXT,
    id: TEXT,
    size: { type: "integer", minimum: 10, maximum: 4096, description: "GB. Default 100." },
    datacenter: { type: "string", pattern: placePattern() },
  };
}

function templateKeys(): Record<keyof PodTemplateOptions, Schema> {
  return {
    id: { type: "string" },
    name: { type: "string" },
    imageName: { type: "string" },
    containerDiskInGb: { ...whole(1), description: "Container disk in GB." },
    dockerArgs: { type: "string" },
    ports: { type: "string" },
    startScript: { type: "string" },
    advancedStart: { type: "boolean" },
    containerRegistryAuthId: { type: "string" },
    env: VARIABLES,
    config: { type: "object" },
  };
}
