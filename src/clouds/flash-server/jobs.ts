/** Jobs of a Flash server, through the job API of their endpoints. */

import type { CloudOptions, JobMove, JobsRequest, Target } from "../../contract/cloud.ts";
import type { StatusDocument } from "../../contract/control.ts";
import { FlashError } from "../../contract/errors.ts";
import type { JobDocument } from "../../contract/job.ts";
import type { JobState } from "../../contract/states.ts";
import type { FailedFilter } from "../../contract/store.ts";
import type { ControlClient } from "./client.ts";

/** Failed jobs, too, whose results are over. */
const KEPT = { kept: "true" };

type StatusOf = (target: Target, options: CloudOptions) => Promise<StatusDocument>;

export class ServerJobs {
  readonly #client: ControlClient;
  readonly #status: StatusOf;

  /** `status` says which endpoints there are. */
  constructor(client: ControlClient, status: StatusOf) {
    this.#client = client;
    this.#status = status;
  }

  async list(
    target: Target,
    request: JobsRequest,
    options: CloudOptions,
  ): Promise<{ requests: JobDocument[]; total: number }> {
    const { endpoint, states, kinds, key, limit } = request;
    return await this.#client.json({
      method: "GET",
      path: `${await this.#queue(target, endpoint, options)}/requests`,
      query: {
        limit: String(limit),
        status: states.length === 0 ? undefined : states.join(","),
        kind: kinds?.join(","),
        key,
        ...KEPT,
      },
      signal: options.signal,
      isRepeatable: true,
    });
  }

  async get(
    target: Target,
    { endpoint, job }: { endpoint: string; job: string },
    options: CloudOptions,
  ): Promise<JobDocument> {
    return await this.#client.json<JobDocument>({
      method: "GET",
      path: `${await this.#queue(target, endpoint, options)}/status/${encodeURIComponent(job)}`,
      query: KEPT,
      signal: options.signal,
      isRepeatable: true,
    });
  }

  async move(
    target: Target,
    { endpoint, job, move }: { endpoint: string; job: string; move: JobMove },
    options: CloudOptions,
  ): Promise<{ id: string; status: JobState }> {
    return await this.#client.json({
      method: "POST",
      path: `${await this.#queue(target, endpoint, options)}/${move}/${encodeURIComponent(job)}`,
      ...(move === "cancel" ? {} : { query: KEPT }),
      signal: options.signal,
    });
  }

  async redrive(
    target: Target,
    { endpoint, states: status, kinds: kind, key }: FailedFilter & { endpoint: string },
    options: CloudOptions,
  ): Promise<{ moved: number }> {
    return await this.#client.json({
      method: "POST",
      path: `${await this.#queue(target, endpoint, options)}/redrive`,
      body: { kind: "json", value: { status, kind, key } },
      signal: options.signal,
    });
  }

  /** Path of an endpoint's job API. */
  async #queue(target: Target, name: string, options: CloudOptions): Promise<string> {
    const { endpoints } = await this.#status(target, options);
    const endpoint = endpoints.find((one) => one.name === name);
    if (endpoint?.kind === "qb") return `/v2/${endpoint.id}`;
    const names = endpoints.filter(({ kind }) => kind === "qb").map((one) => one.name);
    const hint = { hint: `Its queue endpoints are ${names.join(", ") || "none"}.` };
    throw endpoint === undefined
      ? new FlashError("ENDPOINT_NOT_FOUND", `'${target.app}' has no endpoint '${name}'.`, hint)
      : new FlashError("WRONG_ENDPOINT_KIND", `'${name}' is load-balanced: it has no jobs.`, hint);
  }
}
