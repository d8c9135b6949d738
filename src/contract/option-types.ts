/** Endpoint options as a user writes them, and their resolved form. */

import type {
  CpuInstanceType,
  CudaVersion,
  DataCenter,
  GpuGroup,
  GpuType,
  ServerlessScalerType,
} from "./hardware.ts";
import type { SecretReference } from "./secrets.ts";

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
  /**
   * Environment of the worker: the only way to pass variables, `.env` is never shipped. A value is a text,
   * or `secret("NAME")` for a secret that the server keeps.
   */
  env?: Readonly<Record<string, string | SecretReference>>;
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
  /** Jobs or requests that one worker has at once. Default 1 for queue endpoints, 1000 for load-balanced ones. */
  maxConcurrency?: number;
  /** Further attempts after an attempt of a job threw an error. Queue endpoints only. Default 2. */
  retries?: number;
  /**
   * Jobs with the same key (`policy.key` of the submission) that run at once, over all workers. Default
   * 1. However high it is, keys take turns. Queue endpoints only; jobs without a key are not limited.
   */
  keyConcurrency?: number;
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
  /** Variables that hold secrets: name of the variable → name of the secret. Absent in older manifests. */
  secrets?: Readonly<Record<string, string>>;
  executionTimeoutMs: number;
  flashboot: boolean;
  scalerType: ServerlessScalerType;
  scalerValue: number;
  template: PodTemplateOptions | null;
  minCudaVersion: CudaVersion | null;
  maxConcurrency: number;
  retries: number;
  keyConcurrency: number;
}
