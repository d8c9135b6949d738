/** A server whose only endpoint is an image, and workers for it as others would start them. */

import { Readable } from "node:stream";
import { MANIFEST_FILE, WORKER_FILE } from "../../src/contract/manifest.ts";
import { LeapingClock } from "../support/clocks.ts";
import type { Owner } from "../support/temp.ts";
import { parameter, signature, writeArtifact } from "../worker/artifact.ts";
import { WorkerProcess } from "../worker/worker-process.ts";
import { Queue } from "./code-support.ts";
import { EventReader } from "./event-reader.ts";
import { RecordingProxy } from "./recording-proxy.ts";
import { backwards, manifestOf, pack, TestServer } from "./server-support.ts";

/** How a worker talks to the server. */
export type Carrier = "link" | "HTTP";
export type ImageWorker = Awaited<
  ReturnType<Awaited<ReturnType<typeof serveImage>>["startWorker"]>
>;

/**
 * The workers run this code, up to three jobs at once, and reach the server through a proxy each. None of
 * them is silent for long enough to lose its jobs before time is set on with `leap`.
 */
export async function serveImage(t: Owner, code: string) {
  const owner = backwards(t);
  const clock = new LeapingClock(4);
  const server = await TestServer.start(owner, { clock });
  const { control } = server.server;
  const manifest = manifestOf("guests", [{ name: "demo", kind: "qb" }]);
  for (const endpoint of manifest.endpoints) {
    endpoint.form = "image";
    endpoint.options.image = "example/demo:1";
    delete endpoint.bundle;
  }
  const artifact = await pack([
    { target: MANIFEST_FILE, content: JSON.stringify(manifest) },
    { target: WORKER_FILE, content: "" },
  ]);
  const { id } = await control.putBuild("guests", Readable.from([artifact]));
  const where = { app: "guests", environment: "production" };
  const { endpoints } = await control.deploy({ ...where, build: id });
  const artifactDir = writeArtifact(owner, {
    kind: "qb",
    functions: [signature("demo", [parameter("input")])],
    options: { maxConcurrency: 3 },
    code,
  });
  const startWorker = async (carrier: Carrier) => {
    const { env } = await control.addWorker({ ...where, endpoint: "demo" });
    const proxy = await RecordingProxy.start(owner, server.url);
    const through = Object.entries(env).map(([name, value]) => [
      name,
      value.replaceAll(server.url, proxy.url),
    ]);
    const worker = await WorkerProcess.startReady(owner, artifactDir, {
      env: {
        ...(Object.fromEntries(through) as Record<string, string>),
        RUNPOD_PING_INTERVAL: "500",
        ...(carrier === "HTTP" ? { FLASH_JOB_LINK: "" } : {}),
      },
    });
    return { proxy, child: worker.child, pid: worker.child.pid ?? 0 };
  };
  const streamUrl = (job: string): string => `${server.url}/v2/${endpoints[0]?.id}/stream/${job}`;
  return {
    queue: new Queue(server, endpoints[0]),
    startWorker,
    leap: (ms: number) => clock.leap(ms),
    read: (job: string) => EventReader.open(owner, streamUrl(job), { key: server.server.key }),
  };
}
