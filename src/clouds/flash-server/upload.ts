/**
 * Sends an artifact to a Flash server in parts. After a broken connection, or when the command was
 * killed and runs again, it goes on where the server says that it stands.
 */

import { setTimeout as pause } from "node:timers/promises";
import type { Artifact, CloudOptions } from "../../contract/cloud.ts";
import type { BuildDocument, UploadDocument } from "../../contract/control.ts";
import { ERRORS, FlashError } from "../../contract/errors.ts";
import { backoffMs } from "../../kit/backoff.ts";
import { API, type ControlClient } from "./client.ts";

const PATH = `${API}/uploads`;
/** One request carries this much at most: so much is lost when a proxy buffers and then fails. */
const PART_BYTES = 8 * 1024 * 1024;
/** Failures in a row without a byte of progress. */
const TRIES = 6;
const BACKOFF = { baseMs: 200, factor: 3, capMs: 10_000, jitter: 0.2 };

interface Upload {
  artifact: Artifact;
  app: string;
  options: CloudOptions;
}

/** The build of the artifact; `isNew` is false when the server had it. */
export async function upload(
  client: ControlClient,
  given: Upload,
): Promise<{ build: BuildDocument; isNew: boolean }> {
  const { artifact, app, options } = given;
  const { signal } = options;
  const query = { app, digest: artifact.digest };
  const look = (): Promise<UploadDocument> =>
    client.json({ method: "GET", path: PATH, query, signal, isRepeatable: true });
  let state = await look();
  if (state.build !== null) return { build: state.build, isNew: false };
  if (state.offset > 0) options.onProgress?.("going on with an earlier upload");
  let failures = 0;
  while (state.build === null && state.offset < artifact.bytes) {
    const { offset } = state;
    options.onTransfer?.(offset, artifact.bytes);
    try {
      state = await send(client, given, offset);
      failures = 0;
    } catch (error) {
      if (!isPassing(error)) throw error;
      state = await look();
      failures = state.offset > offset ? 0 : failures + 1;
      if (failures >= TRIES) throw error;
      await pause(backoffMs(BACKOFF, failures), undefined, signal === undefined ? {} : { signal });
    }
  }
  if (state.build !== null) return { build: state.build, isNew: false };
  options.onTransfer?.(artifact.bytes, artifact.bytes);
  const build = await client.json<BuildDocument>({
    method: "POST",
    path: `${PATH}/complete`,
    query,
    signal,
    isRepeatable: true,
    // Unpacking a large artifact takes its time.
    idleMs: 0,
  });
  return { build, isNew: true };
}

async function send(
  client: ControlClient,
  { artifact, app, options }: Upload,
  offset: number,
): Promise<UploadDocument> {
  const { file, digest, bytes } = artifact;
  const part = Math.min(PART_BYTES, bytes - offset);
  return await client.json({
    method: "PUT",
    path: PATH,
    query: { app, digest, offset: String(offset), bytes: String(bytes) },
    body: { kind: "file", path: file, offset, bytes: part },
    signal: options.signal,
  });
}

/** Failures of the way there, and another request that was faster. */
function isPassing(error: unknown): boolean {
  return FlashError.is(error) && (ERRORS[error.code].retry || error.code === "CONFLICT");
}
