/**
 * The key of this machine's server, for a server that has just proven to have it (contract/server-proof):
 * FLASH_URL may name a port that somebody else has taken meanwhile.
 */

import { CHALLENGE_HEADER, PROOF_HEADER, portOfUrl, proofText } from "../contract/server-proof.ts";
import { abortable } from "../kit/abort.ts";
import { homeFolder, nodeProcess, readTextFile } from "./environment.ts";

/** A proof is believed this long, ms: calls stay one request, and a port does not change hands as quickly. */
const FRESH_MS = 5000;

const proofs = new Map<string, { at: number; proof: Promise<boolean> }>();

/** Undefined when there is no key file, or the server has not proven to have its key. */
export async function ownKey(
  url: string,
  signal: AbortSignal | undefined,
): Promise<string | undefined> {
  const key = readTextFile(`${homeFolder() ?? ""}/key`)?.trim();
  if (key === undefined) return undefined;
  const { origin } = new URL(url);
  const known = proofs.get(`${origin} ${key}`);
  const isFresh = known !== undefined && performance.now() - known.at < FRESH_MS;
  const proof = isFresh ? known.proof : proven(origin, key);
  // Others may wait for the same answer: a signal ends one caller's wait, not the request.
  return (await abortable(proof, signal)) ? key : undefined;
}

function proven(origin: string, key: string): Promise<boolean> {
  const proof = asked(origin, key);
  const name = `${origin} ${key}`;
  proofs.set(name, { at: performance.now(), proof });
  proof.catch(() => proofs.delete(name));
  return proof;
}

async function asked(origin: string, key: string): Promise<boolean> {
  const crypto = nodeProcess()?.getBuiltinModule("node:crypto");
  if (crypto === undefined) return false;
  const challenge = crypto.randomBytes(32).toString("hex");
  const response = await fetch(`${origin}/livez`, {
    headers: { [CHALLENGE_HEADER]: challenge },
    redirect: "manual",
  });
  await response.body?.cancel();
  const secret = crypto.createHash("sha256").update(key).digest();
  const text = proofText(portOfUrl(new URL(origin)), challenge);
  const wanted = crypto.createHmac("sha256", secret).update(text).digest("hex");
  return response.headers.get(PROOF_HEADER) === wanted;
}
