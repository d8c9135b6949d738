/**
 * The resource classes of the older surface. They take their original field names and ours, and
 * `remote()` gives them functions. A `Live…` resource runs in process without a server; deployed, it
 * behaves as its production counterpart.
 */

import {
  CpuInstanceType,
  type DataCenter,
  type GpuGroup,
  type GpuType,
} from "../contract/hardware.ts";
import {
  OPTION_NAMES,
  type EndpointKind,
  type EndpointOptions,
  type NetworkVolumeOptions,
  type OptionMistake,
} from "../contract/options.ts";
import { registry, type AnyFunction } from "../contract/registry.ts";
import { WORKER_ENV } from "../contract/worker-env.ts";
import { declareEndpoint, declared, misuse, type Handle } from "./declare.ts";
import type { DeployOptions } from "./deploy.ts";
import type { WaitOptions } from "./job.ts";
import { unknownOption } from "./models.ts";
import { describingError, isDescribing } from "./describing.ts";
import { readUrl, readVariable } from "./environment.ts";
import { notDeployedError } from "./place.ts";

/** Options of the resource classes: every option of `Endpoint`, and the original's names for them. */
export interface ResourceOptions extends Omit<EndpointOptions, "id" | "name"> {
  /** Unique in the app. */
  name: string;
  /** The same as `image`. */
  imageName?: string;
  /** The same as `gpu`. */
  gpus?: readonly (GpuGroup | GpuType)[];
  /** The same as `cpu`. */
  instanceIds?: readonly CpuInstanceType[];
  /** Default 0. */
  workersMin?: number;
  /** Default 1. */
  workersMax?: number;
  /** Seconds: the same as `idleTimeoutS`. */
  idleTimeout?: number;
  /** Id of an existing template. */
  templateId?: string;
  /** The same as `volume`. */
  networkVolume?: NetworkVolumeOptions;
  networkVolumes?: readonly NetworkVolumeOptions[];
  /** Id of an existing volume. */
  networkVolumeId?: string;
  /** Data centres as a comma list: the same as `datacenter`. */
  locations?: string;
  type?: "QB" | "LB";
}

interface ResourceClass {
  label: string;
  kind: EndpointKind;
  live: boolean;
  cpu: boolean;
}

abstract class Resource {
  readonly #handle: Handle;
  abstract readonly kind: EndpointKind;
  abstract readonly live: boolean;

  constructor(options: ResourceOptions, type: ResourceClass, entry: unknown) {
    const mistakes: OptionMistake[] = [];
    const mapped = mapOptions(options, type, mistakes);
    const { label: resource, kind, live } = type;
    const fields = { kind, options: mapped, resource, live, production: !live, mistakes };
    this.#handle = declareEndpoint(fields, entry as AnyFunction);
    checkImage(mapped, type, entry as AnyFunction);
    declared(this, this.#handle);
  }

  get name(): string {
    return this.#handle.declaration.name ?? "";
  }

  /** The endpoint's id; undefined until `deploy()` has returned. */
  get id(): string | undefined {
    return this.#handle.deployment?.id;
  }

  /**
   * Base URL for plain HTTP clients. Throws `NOT_DEPLOYED` until `deploy()` has returned. In a worker it
   * is known from the start; that of another endpoint is the address of calls by name, which need the
   * `X-Flash-*` headers.
   */
  get endpointUrl(): string {
    if (isDescribing()) throw describingError();
    const url = this.#handle.deployment?.url ?? this.#urlInWorker();
    if (url === undefined) throw notDeployedError();
    return url;
  }

  /** A module that deploys and then uses its URL also runs in the workers it has deployed. */
  #urlInWorker(): string | undefined {
    const { mode, endpoint } = registry();
    const server = mode === "serve" ? readUrl(WORKER_ENV.serverUrl) : undefined;
    if (server === undefined) return undefined;
    const id = endpoint === this.name ? readVariable(WORKER_ENV.endpointId) : "flash";
    return `${server}/${this.kind === "lb" ? "lb" : "v2"}/${id ?? "flash"}`;
  }

  /**
   * Deploys the project in the current directory and keeps this endpoint's id and URL, so that its
   * functions are called there from now on. With `waitForReady` it also waits until the endpoint
   * answers. In a worker it returns at once. Throws what `flash deploy` fails with.
   */
  async deploy(options: DeployOptions = {}): Promise<this> {
    if (isDescribing()) throw describingError();
    if (registry().mode !== "script") return this;
    const { deployProject, waitUntilReady } = await import("./deploy.ts");
    const deployment = await deployProject(this.name, options);
    if (options.waitForReady === true) await waitUntilReady(deployment, options);
    this.#handle.deployment = deployment;
    return this;
  }

  /** Removes the endpoint from where it is deployed. Throws `NOT_DEPLOYED` or `ENDPOINT_NOT_FOUND`. */
  async undeploy(limits: WaitOptions = {}): Promise<void> {
    if (isDescribing()) throw describingError();
    const { undeploy } = await import("./deploy.ts");
    await undeploy(this.name, this.#handle.deployment, limits);
    this.#handle.deployment = undefined;
  }

  /** Asks the server whether this endpoint is deployed in the app and environment. */
  async isDeployed(limits: WaitOptions = {}): Promise<boolean> {
    if (isDescribing()) throw describingError();
    const { isDeployed } = await import("./deploy.ts");
    return isDeployed(this.name, this.#handle.deployment, limits);
  }
}

/** A queue endpoint that runs in process without a server. */
export class LiveServerless extends Resource {
  readonly kind = "qb" as const;
  readonly live = true as const;
  constructor(options: ResourceOptions) {
    super(options, { label: "LiveServerless", kind: "qb", live: true, cpu: false }, new.target);
  }
}

/** A queue endpoint on CPU that runs in process without a server. */
export class CpuLiveServerless extends Resource {
  readonly kind = "qb" as const;
  readonly live = true as const;
  constructor(options: ResourceOptions) {
    super(options, { label: "CpuLiveServerless", kind: "qb", live: true, cpu: true }, new.target);
  }
}

/** A load-balanced endpoint for development and tests: its functions run in process. */
export class LiveLoadBalancer extends Resource {
  readonly kind = "lb" as const;
  readonly live = true as const;
  constructor(options: ResourceOptions) {
    super(options, { label: "LiveLoadBalancer", kind: "lb", live: true, cpu: false }, new.target);
  }
}

/** {@link LiveLoadBalancer} on CPU. */
export class CpuLiveLoadBalancer extends Resource {
  readonly kind = "lb" as const;
  readonly live = true as const;
  constructor(options: ResourceOptions) {
    super(options, { label: "CpuLiveLoadBalancer", kind: "lb", live: true, cpu: true }, new.target);
  }
}

/** A queue endpoint in a container image of yours. */
export class ServerlessEndpoint extends Resource {
  readonly kind = "qb" as const;
  readonly live = false as const;
  constructor(options: ResourceOptions) {
    super(
      options,
      { label: "ServerlessEndpoint", kind: "qb", live: false, cpu: false },
      new.target,
    );
  }
}

/** {@link ServerlessEndpoint} on CPU. */
export class CpuServerlessEndpoint extends Resource {
  readonly kind = "qb" as const;
  readonly live = false as const;
  constructor(options: ResourceOptions) {
    super(
      options,
      { label: "CpuServerlessEndpoint", kind: "qb", live: false, cpu: true },
      new.target,
    );
  }
}

/** A load-balanced endpoint. Its functions are called at the deployed endpoint. */
export class LoadBalancerSlsResource extends Resource {
  readonly kind = "lb" as const;
  readonly live = false as const;
  constructor(options: ResourceOptions) {
    const type = { label: "LoadBalancerSlsResource", kind: "lb", live: false, cpu: false } as const;
    super(options, type, new.target);
  }
}

/** {@link LoadBalancerSlsResource} on CPU. */
export class CpuLoadBalancerSlsResource extends Resource {
  readonly kind = "lb" as const;
  readonly live = false as const;
  constructor(options: ResourceOptions) {
    const type = {
      label: "CpuLoadBalancerSlsResource",
      kind: "lb",
      live: false,
      cpu: true,
    } as const;
    super(options, type, new.target);
  }
}

/** The original's name → ours. */
const SYNONYMS: Readonly<Record<string, keyof EndpointOptions>> = {
  imageName: "image",
  gpus: "gpu",
  instanceIds: "cpu",
  idleTimeout: "idleTimeoutS",
  networkVolume: "volume",
  networkVolumes: "volume",
};

const OWN_NAMES = [
  "workersMin",
  "workersMax",
  "templateId",
  "networkVolumeId",
  "locations",
  "type",
] as const;

function mapOptions(
  options: ResourceOptions,
  type: ResourceClass,
  mistakes: OptionMistake[],
): EndpointOptions {
  const known = [
    ...OPTION_NAMES.filter((name) => name !== "id"),
    ...Object.keys(SYNONYMS),
    ...OWN_NAMES,
  ];
  const mapped: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(options ?? {})) {
    if (value === undefined || (OWN_NAMES as readonly string[]).includes(key)) continue;
    if (key === "endpointUrl" || key === "endpoint_url") mistakes.push(urlMistake(key));
    else if (!known.includes(key)) mistakes.push(unknownOption(type.label, key, known));
    else {
      const ours = SYNONYMS[key] ?? key;
      if (ours in mapped) mistakes.push(twiceMistake(ours, key));
      mapped[ours] = value;
    }
  }
  if (mapped["name"] === undefined) {
    mistakes.push({ option: "name", message: `${type.label} requires a name` });
  }
  return { ...mapped, ...mapOwn(options ?? {}, mapped, { type, mistakes }) };
}

/** Fields that have no single option of ours. */
function mapOwn(
  options: ResourceOptions,
  mapped: EndpointOptions,
  { type, mistakes }: { type: ResourceClass; mistakes: OptionMistake[] },
): EndpointOptions {
  const { workersMin, workersMax, templateId, networkVolumeId, locations } = options;
  const own: EndpointOptions = {};
  if (workersMin !== undefined || workersMax !== undefined) {
    if (mapped.workers !== undefined) mistakes.push(twiceMistake("workers", "workersMin"));
    const [min, max] = [workersMin ?? 0, workersMax ?? Math.max(1, workersMin ?? 0)];
    if (min > max) mistakes.push(workersMistake(min, max));
    else own.workers = [min, max];
  }
  if (templateId !== undefined) own.template = { ...mapped.template, id: templateId };
  if (networkVolumeId !== undefined) {
    if (mapped.volume !== undefined) mistakes.push(twiceMistake("volume", "networkVolumeId"));
    own.volume = { id: networkVolumeId };
  }
  if (locations !== undefined) {
    if (mapped.datacenter !== undefined) mistakes.push(twiceMistake("datacenter", "locations"));
    own.datacenter = locations.split(",").map((one) => one.trim()) as DataCenter[];
  }
  if (type.cpu && mapped.cpu === undefined) own.cpu = [CpuInstanceType.CPU3G_2_8];
  if (options.type !== undefined && options.type !== type.kind.toUpperCase()) {
    mistakes.push(typeMistake(type, options.type));
  }
  return own;
}

/** The original's rule. Load-balanced code of ours needs no image, so only queue endpoints keep it. */
function checkImage(options: EndpointOptions, type: ResourceClass, entry: AnyFunction): void {
  if (type.live || type.kind === "lb") return;
  if (options.image !== undefined || options.template !== undefined) return;
  misuse("Either imageName, template, or templateId must be provided", entry, {
    hint: `${type.label} runs in an image of yours; Endpoint({ name: '…' }) needs none.`,
  });
}

function urlMistake(option: string): OptionMistake {
  return {
    option,
    message: `${option} cannot be given: it is set by deploy()`,
    hint: "Leave it out, and read resource.endpointUrl after 'await resource.deploy()'. To call an existing endpoint write Endpoint({ id }).",
  };
}

function twiceMistake(ours: string, key: string): OptionMistake {
  return { option: key, message: `'${key}' and '${ours}' set the same option. give one of them.` };
}

function workersMistake(min: number, max: number): OptionMistake {
  return {
    option: "workersMin",
    message: `workersMin (${min}) cannot be greater than workersMax (${max})`,
  };
}

function typeMistake({ label, kind }: ResourceClass, got: string): OptionMistake {
  return { option: "type", message: `${label} type must be ${kind.toUpperCase()}, got ${got}` };
}

export type AnyResource =
  | LiveServerless
  | CpuLiveServerless
  | LiveLoadBalancer
  | CpuLiveLoadBalancer
  | ServerlessEndpoint
  | CpuServerlessEndpoint
  | LoadBalancerSlsResource
  | CpuLoadBalancerSlsResource;

export function isResource(value: unknown): value is AnyResource {
  return value instanceof Resource;
}
