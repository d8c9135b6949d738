/** What a client's methods do over HTTP. Loads with the first call of one. */

import { FlashError, type Issue } from "../contract/flash-error.ts";
import type { JobDocument } from "../contract/job.ts";
import type { EndpointOptions } from "../contract/options.ts";
import { readAnswer } from "./answer.ts";
import { peerById, peerByName, type Peer } from "./connection.ts";
import { ensureOk, exchange } from "./exchange.ts";
import { EndpointJob, type WaitOptions } from "./job.ts";
import {
  RemoteJob,
  changeJob,
  chunksOf,
  operate,
  readJob,
  submit,
  submitAndHold,
  type Submission,
} from "./jobs.ts";
import { Deadline } from "./pause.ts";
import type { CallOptions, HealthDocument, RequestOptions, SubmitOptions } from "./types.ts";

/** Time of a client's request, ms. Source: the original. */
const REQUEST_TIMEOUT_MS = 60_000;

export class ClientCalls {
  readonly #peer: Peer;

  /** An `id` always wins over a name. */
  constructor({ id, name }: EndpointOptions) {
    this.#peer = id === undefined ? peerByName(name ?? "") : peerById(id);
  }

  async run(input: unknown, options: SubmitOptions): Promise<EndpointJob> {
    return this.#jobOf(await submit(this.#peer, "run", await submission(input, options)));
  }

  async runsync(input: unknown, options: SubmitOptions): Promise<EndpointJob> {
    return this.#jobOf(await submitAndHold(this.#peer, await submission(input, options)));
  }

  async status(jobId: string, options: CallOptions): Promise<EndpointJob> {
    return this.#jobOf(await readJob(this.#peer, jobId, options));
  }

  async change(
    operation: "cancel" | "retry",
    jobId: string,
    options: CallOptions,
  ): Promise<EndpointJob> {
    return this.#jobOf(await changeJob(this.#peer, operation, { ...options, id: jobId }));
  }

  stream(jobId: string, { signal, timeoutMs }: WaitOptions): AsyncGenerator {
    return chunksOf(this.#peer, jobId, { signal, deadline: new Deadline(timeoutMs) });
  }

  async health(options: CallOptions): Promise<HealthDocument> {
    return (await operate(this.#peer, ["GET", "/health"], options)) as HealthDocument;
  }

  async purge(options: CallOptions): Promise<{ removed: number; status: string }> {
    const answer = await operate(this.#peer, ["POST", "/purge-queue"], options);
    return answer as { removed: number; status: string };
  }

  async request(
    [method, path, data]: [method: string, path: string, data: unknown],
    { query, raw, ...options }: RequestOptions & { raw?: boolean },
  ): Promise<unknown> {
    if (!path.startsWith("/")) {
      throw new FlashError("INVALID_USAGE", `path must start with '/', got: ${path}`);
    }
    const peer = this.#peer;
    const json = data === undefined ? undefined : await toJson(data, "data");
    const search = new URLSearchParams(
      pairsOf({ ...(method === "GET" ? asQuery(json) : {}), ...query }),
    );
    const question =
      search.size === 0 ? "" : `${path.includes("?") ? "&" : "?"}${search.toString()}`;
    const outgoing = {
      timeoutMs: REQUEST_TIMEOUT_MS,
      ...options,
      method,
      url: `${peer.routesUrl}${path}${question}`,
      body: method === "GET" || json === undefined ? undefined : JSON.stringify(json),
    };
    return exchange(peer, outgoing, async (response) => {
      if (raw === true) return response;
      await ensureOk(response, peer);
      return readAnswer(response, peer);
    });
  }

  #jobOf(document: JobDocument): EndpointJob {
    return new EndpointJob(new RemoteJob(this.#peer, document.id), document);
  }
}

async function submission(
  input: unknown,
  { webhook, policy, ...limits }: SubmitOptions,
): Promise<Submission> {
  const body = {
    input: await toJson(input, "input"),
    ...(webhook === undefined ? {} : { webhook }),
    ...(policy === undefined ? {} : { policy }),
  };
  return { timeoutMs: REQUEST_TIMEOUT_MS, ...limits, body };
}

/** Plain JSON, or `NOT_SERIALIZABLE`. Loaded with the first value that is sent. */
async function toJson(value: unknown, name: string): Promise<unknown> {
  const { encodeJson } = await import("../contract/carry.ts");
  const issues: Issue[] = [];
  const json = encodeJson(value, {}, name, issues);
  if (issues.length === 0) return json;
  const unfit = issues.map(({ path, message }) => `${path} ${message}`).join("; ");
  throw new FlashError("NOT_SERIALIZABLE", `JSON serialization error: ${unfit}.`, { issues });
}

function asQuery(data: unknown): Record<string, unknown> {
  if (data === undefined || data === null) return {};
  if (typeof data === "object" && !Array.isArray(data)) return data as Record<string, unknown>;
  throw new FlashError(
    "INVALID_USAGE",
    "data of a GET request must be an object: it becomes the query string.",
  );
}

/** Lists repeat their key; what is not text is written as JSON. */
function pairsOf(query: Readonly<Record<string, unknown>>): [string, string][] {
  return Object.entries(query).flatMap(([key, value]) =>
    [value]
      .flat()
      .map((one): [string, string] => [key, typeof one === "string" ? one : JSON.stringify(one)]),
  );
}
