/**
 * A standby: a worker process that has booted and waits to be told which worker it is. It has loaded
 * the runtime and the SDK, has its heartbeat's thread, listens where the worker will listen, and has
 * rehearsed, so that what remains of a cold start is the import of the user's code. It is used once: one endpoint's
 * environment never meets another's.
 *
 *   server → standby   {"type":"assign","env":{…},"sharesSdk":true,"manifest":{…}}
 *                        the whole environment of the worker to be, and whether the SDK of its
 *                        artifact is the one beside the standby's program; what its manifest says of
 *                        the endpoint, when the server knows
 *   standby → server   {"type":"standby","failure":"…"}
 *                        booted, waiting; why it could not rehearse, if so
 */

import { fileURLToPath } from "node:url";
import type { ManifestPart } from "../../contract/manifest.ts";
import { WORKER_ENV } from "../../contract/worker-env.ts";
import { rehearse } from "./rehearsal.ts";
import { startHeartbeatThread } from "../queue/heartbeat.ts";
import { Doors } from "../routes/doors.ts";
import { serveWorker } from "../serve.ts";
import { SharedSdk } from "./shared-sdk.ts";

interface Assignment {
  env: Record<string, string>;
  sharesSdk: boolean;
  manifest: ManifestPart | undefined;
}

/** Waits for an assignment and serves it. Ends with the server's channel. */
export async function standBy(runtimeUrl: string): Promise<void> {
  const assigned = assignment();
  // A server that ends, or that no longer needs a standby, closes the channel.
  const leave = (): never => process.exit(0);
  process.on("disconnect", leave);
  process.setSourceMapsEnabled(true);
  // Node opens them when they are first asked for.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
  const socketPath = process.env[WORKER_ENV.standby] ?? "";
  const doors = new Doors({ socketPath });
  const heartbeatThread = startHeartbeatThread(runtimeUrl);
  const [sdk] = await Promise.all([SharedSdk.load(fileURLToPath(runtimeUrl)), doors.open()]);
  let failure: string | undefined;
  if (sdk !== undefined) {
    const stage = { folder: process.cwd(), socketPath, runtimeUrl, sdk };
    // One that has not rehearsed is slower, and no worse.
    await rehearse(doors, stage).catch((error: unknown) => {
      failure = String(error);
    });
  }
  process.title = "flash-standby";
  process.send?.({ type: "standby", failure });
  const { env, sharesSdk, manifest } = await assigned;
  process.off("disconnect", leave);
  for (const name of Object.keys(process.env)) delete process.env[name];
  Object.assign(process.env, env);
  const artifactDir = env[WORKER_ENV.artifactDir];
  if (sharesSdk && artifactDir !== undefined) sdk?.standInFor(artifactDir);
  await serveWorker({
    env: process.env,
    runtimeUrl,
    manifest,
    prepared: { doors, heartbeatThread },
  });
}

function assignment(): Promise<Assignment> {
  return new Promise((resolve) => {
    const onMessage = (message: unknown): void => {
      const { type, env, sharesSdk, manifest } = (message ?? {}) as Partial<Assignment> & {
        type?: unknown;
      };
      if (type !== "assign" || env === undefined) return;
      process.off("message", onMessage);
      resolve({ env, sharesSdk: sharesSdk === true, manifest });
    };
    process.on("message", onMessage);
  });
}
