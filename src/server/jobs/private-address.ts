/** Which addresses a stranger's URL must not make this server call. */

import { BlockList, isIP } from "node:net";

const PRIVATE: readonly (readonly [network: string, prefix: number, family: "ipv4" | "ipv6"])[] = [
  ["0.0.0.0", 8, "ipv4"],
  ["10.0.0.0", 8, "ipv4"],
  ["100.64.0.0", 10, "ipv4"],
  ["127.0.0.0", 8, "ipv4"],
  // Link-local, and with it the metadata services of the clouds.
  ["169.254.0.0", 16, "ipv4"],
  ["172.16.0.0", 12, "ipv4"],
  ["192.0.0.0", 24, "ipv4"],
  ["192.168.0.0", 16, "ipv4"],
  ["198.18.0.0", 15, "ipv4"],
  ["224.0.0.0", 4, "ipv4"],
  ["240.0.0.0", 4, "ipv4"],
  // No address, loopback, and the IPv4 addresses that were once written so.
  ["::", 96, "ipv6"],
  ["fc00::", 7, "ipv6"],
  ["fe80::", 10, "ipv6"],
  // Site-local: out of use, but still routed inside old networks.
  ["fec0::", 10, "ipv6"],
  ["ff00::", 8, "ipv6"],
  // IPv4 behind a translator, 6to4 and Teredo: the inner address cannot be judged.
  ["::ffff:0:0:0", 96, "ipv6"],
  ["64:ff9b::", 96, "ipv6"],
  ["64:ff9b:1::", 48, "ipv6"],
  ["2002::", 16, "ipv6"],
  ["2001::", 32, "ipv6"],
];

const blocked = new BlockList();
for (const [network, prefix, family] of PRIVATE) blocked.addSubnet(network, prefix, family);

/** True for an IP address of a loopback, private, link-local, multicast or reserved network. */
export function isPrivateAddress(address: string): boolean {
  const family = isIP(address);
  return family === 0 ? false : blocked.check(address, family === 6 ? "ipv6" : "ipv4");
}

/** True when a URL's host is such an address, or a name that always means this machine. */
export function isPrivateHost(hostname: string): boolean {
  // A name may end in a dot, for the root of all names.
  const host = hostname.replace(/^\[|\]$|\.+$/g, "").toLowerCase();
  return host === "localhost" || host.endsWith(".localhost") || isPrivateAddress(host);
}
