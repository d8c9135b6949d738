/**
 * How a server proves that it has the server key. Whoever looks for the server of this machine asks
 * before the key is sent: a port that is free belongs to whoever takes it.
 *
 * The proof is HMAC-SHA-256 of {@link proofText}, keyed with the SHA-256 of the key, in hexadecimal. It holds for
 * one port, so it cannot be fetched from the real server and passed on.
 */

/** Asks `/livez` for the proof: 64 hexadecimal digits, new each time. */
export const CHALLENGE_HEADER = "x-flash-challenge";
export const PROOF_HEADER = "x-flash-proof";

/** What a proof signs. `port` is the one that the server was asked on. */
export function proofText(port: number, challenge: string): string {
  return `flash-server:${port}:${challenge}`;
}

/** The port of an http or https URL, which need not say it. */
export function portOfUrl({ port, protocol }: URL): number {
  if (port !== "") return Number(port);
  return protocol === "https:" ? 443 : 80;
}

/** True for a URL whose host is this machine itself. */
export function isLoopback(url: string): boolean {
  const { hostname } = new URL(url);
  return (
    hostname === "localhost" ||
    hostname.endsWith(".localhost") ||
    hostname === "[::1]" ||
    /^127(\.\d{1,3}){3}$/.test(hostname)
  );
}
