/** A real Flash server on a free port, with artifacts of the tests' own worker. */

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import http, { type IncomingHttpHeaders } from "node:http";
import path from "node:path";
import { Readable } from "node:stream";
import { gzipSync } from "node:zlib";
import { packTar } from "modern-tar/fs";
import type { DeploymentDocument, EndpointStatus } from "../../src/contract/control.ts";
import { MANIFEST_FILE, MANIFEST_VERSION, WORKER_FILE } from "../../src/contract/manifest.ts";
import type { EndpointManifest, Manifest } from "../../src/contract/manifest.ts";
import { resolveOptions, type EndpointOptions } from "../../src/contract/options.ts";
import {
  FlashServer,
  ProcessCompute,
  SqliteStore,
  type FlashServerOptions,
} from "../../src/server/server.ts";
import { temporaryFolder, type Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";

export { isAlive } from "../support/processes.ts";

const WORKER = readFileSync(path.join(import.meta.dirname, "fixture-worker.mjs"));

export interface EndpointSpec {
  name: string;
  kind: "qb" | "lb";
  /** Default by kind: `function` or `routes`. */
  form?: "image";
  options?: Omit<EndpointOptions, "name">;
  /** Changes the fingerprint. Default `1`. */
  version?: string;
}

/** The manifest of these endpoints. */
export function manifestOf(app: string, endpoints: readonly EndpointSpec[]): Manifest {
  return {
    version: MANIFEST_VERSION,
    app,
    builtWith: "0.0.0-test",
    endpoints: endpoints.map(endpointManifest),
    fingerprint: JSON.stringify(endpoints),
  };
}

function endpointManifest(spec: EndpointSpec): EndpointManifest {
  const { name, kind, options = {}, version = "1" } = spec;
  const resolved = resolveOptions(
    { ...options, env: { VERSION: version, ...options.env } },
    kind,
    name,
  );
  return {
    name,
    kind,
    form: spec.form ?? (kind === "lb" ? "routes" : "function"),
    live: false,
    resource: "Endpoint",
    options: resolved,
    functions:
      kind === "lb"
        ? [
            {
              name: "GET /pid",
              parameters: [],
              streams: false,
              checked: false,
              route: { method: "GET", path: "/pid" },
            },
          ]
        : [],
    files: [],
    bundle: `endpoints/${name}/index.mjs`,
    calls: [],
    fingerprint: JSON.stringify(spec),
    packages: {},
  };
}

export type ArtifactFile = { target: string; content: string | Buffer };

/** A gzipped tar of these files. */
export async function pack(files: readonly ArtifactFile[]): Promise<Buffer> {
  // The same files make the same bytes.
  const mtime = new Date(0);
  const sources = files.map((file) => ({ type: "content" as const, mtime, ...file }));
  const chunks: Buffer[] = [];
  for await (const chunk of packTar(sources)) chunks.push(chunk as Buffer);
  return gzipSync(Buffer.concat(chunks));
}

export async function artifactOf(app: string, endpoints: readonly EndpointSpec[]): Promise<Buffer> {
  return await pack([
    { target: MANIFEST_FILE, content: JSON.stringify(manifestOf(app, endpoints)) },
    { target: WORKER_FILE, content: WORKER },
    // The tests' worker has all of its code; a server insists on a bundle for every endpoint.
    ...endpoints.map(({ name }) => ({
      target: `endpoints/${name}/index.mjs`,
      content: "export {};",
    })),
  ]);
}

export interface Answer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  // oxlint-disable-next-line typescript/no-explicit-any -- what a test asserts about is not known here
  json: any;
  trailers: NodeJS.Dict<string>;
}

export interface RequestOptions {
  method?: string;
  headers?: Record<string, string>;
  body?: string | Buffer;
  /** `null` sends none; default the server's. */
  key?: string | null;
  agent?: http.Agent;
  signal?: AbortSignal;
}

/** Runs what is to be done at the end in the opposite order: a server before its folder. */
export function backwards(owner: Owner): Owner {
  const steps: (() => void | Promise<void>)[] = [];
  owner.after(async () => {
    for (const step of steps.reverse()) await step();
  });
  return { after: (run) => void steps.push(run) };
}

/** A server and what a test does with it. */
export class TestServer {
  readonly server: FlashServer;
  readonly home: string;

  private constructor(server: FlashServer, home: string) {
    this.server = server;
    this.home = home;
  }

  static async start(owner: Owner, options: Partial<FlashServerOptions> = {}): Promise<TestServer> {
    const steps = backwards(owner);
    const home = options.home ?? temporaryFolder(steps, "flash-home");
    const server = await FlashServer.start({
      home,
      port: 0,
      store: options.store ?? new SqliteStore({ home, durability: "memory" }),
      compute: options.compute ?? new ProcessCompute({ home }),
      version: "0.0.0-test",
      ...options,
    });
    steps.after(() => server.close({ graceMs: 0 }));
    return new TestServer(server, home);
  }

  get url(): string {
    return this.server.url;
  }

  async deploy(
    app: string,
    endpoints: readonly EndpointSpec[],
    environment = "production",
  ): Promise<DeploymentDocument> {
    const artifact = await artifactOf(app, endpoints);
    const build = await this.server.control.putBuild(app, Readable.from([artifact]));
    return await this.server.control.deploy({ app, environment, build: build.id });
  }

  /** Sends an artifact over HTTP, as the command line does. */
  async upload(app: string, artifact: Buffer, key?: string): Promise<Answer> {
    const digest = createHash("sha256").update(artifact).digest("hex");
    const query = `app=${app}&digest=${digest}`;
    const as = key === undefined ? {} : { key };
    const put = { method: "PUT", body: artifact, ...as };
    const path = `/api/v1/uploads?${query}&offset=0&bytes=${artifact.length}`;
    const sent = await this.request(path, put);
    if (sent.status !== 200) return sent;
    return await this.request(`/api/v1/uploads/complete?${query}`, { method: "POST", ...as });
  }

  async status(app: string, name: string, environment = "production"): Promise<EndpointStatus> {
    const { endpoints } = await this.server.control.status(app, environment);
    const found = endpoints.find((endpoint) => endpoint.name === name);
    if (found === undefined) throw new Error(`no endpoint ${name}`);
    return found;
  }

  /** Processes that an endpoint has: every state but STOPPED. */
  async workers(app: string, name: string): Promise<number> {
    const { workers } = await this.status(app, name);
    return Object.values(workers).reduce((sum, count) => sum + count, 0);
  }

  async untilWorkers(app: string, name: string, count: number): Promise<void> {
    await until(async () => (await this.workers(app, name)) === count, {
      what: `${count} workers of ${name}`,
    });
  }

  request(url: string, options: RequestOptions = {}): Promise<Answer> {
    const { method = "GET", key = this.server.key, body, agent, signal } = options;
    const headers = {
      // Said outright: without an agent, node's client would ask for the connection to be closed.
      connection: "keep-alive",
      ...(key === null ? {} : { authorization: `Bearer ${key}` }),
      ...options.headers,
    };
    const target = url.startsWith("http") ? url : `${this.url}${url}`;
    return new Promise((resolve, reject) => {
      const request = http.request(
        target,
        { method, headers, agent: agent ?? false, ...(signal === undefined ? {} : { signal }) },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("error", reject);
          response.on("end", () => {
            const text = Buffer.concat(chunks).toString();
            resolve({
              status: response.statusCode ?? 0,
              headers: response.headers,
              text,
              json: parse(text),
              trailers: response.trailers,
            });
          });
        },
      );
      request.on("error", reject);
      request.end(body);
    });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
