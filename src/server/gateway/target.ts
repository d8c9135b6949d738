/** Where a request wants to go: pure, from its host and its target. */

/** What a request addresses. */
export type Target =
  /** `/livez`, `/readyz`. */
  | { kind: "health"; check: "livez" | "readyz" }
  /** Load-balanced data plane; `id` is `flash` for calls by name; `path` goes to the worker as it is. */
  | { kind: "lb"; id: string; path: string }
  /** `/v2/{id}/…`; segments are decoded. */
  | { kind: "v2"; id: string; operation: string[] }
  /** `/api/v1…`. */
  | { kind: "control"; path: string; query: URLSearchParams }
  /** `/metrics`. */
  | { kind: "metrics" }
  | { kind: "none"; path: string };

const LOCAL_SUFFIX = ".localhost";

/** Host name of a `Host` header, lower case, without port; undefined when there is none. */
export function hostName(host: string | undefined): string | undefined {
  if (host === undefined) return undefined;
  const name = host.startsWith("[") ? host.slice(0, host.indexOf("]") + 1) : host.split(":")[0];
  return name?.toLowerCase();
}

/**
 * True for names that a browser resolves to this machine and no foreign page can own. A page of
 * `evil.example` that rebinds its name to 127.0.0.1 still sends its own name.
 */
export function isLocalName(name: string | undefined): boolean {
  if (name === undefined) return true;
  if (name === "localhost" || name.endsWith(LOCAL_SUFFIX)) return true;
  return name === "[::1]" || /^127(\.\d{1,3}){3}$/.test(name);
}

/** Reads a request's target. `url` is the request line's, `host` the `Host` header's. */
export function readTarget(url: string, host: string | undefined): Target {
  const target = originForm(url);
  const label = endpointLabel(hostName(host));
  if (label !== undefined) return { kind: "lb", id: label, path: target };
  const cut = target.indexOf("?");
  const path = cut === -1 ? target : target.slice(0, cut);
  if (path === "/livez" || path === "/readyz") {
    return { kind: "health", check: path === "/livez" ? "livez" : "readyz" };
  }
  if (path === "/metrics") return { kind: "metrics" };
  const [, plane = "", id = ""] = path.split("/", 3);
  if (plane === "lb" && id !== "") return { kind: "lb", id, path: restOf(target, `/lb/${id}`) };
  if (plane === "v2" && id !== "") {
    const operation = path.split("/").slice(3).map(decodeSegment);
    return { kind: "v2", id: decodeSegment(id), operation };
  }
  if (path.startsWith("/api/v1/")) {
    const query = new URLSearchParams(cut === -1 ? "" : target.slice(cut + 1));
    return { kind: "control", path: path.slice("/api/v1".length), query };
  }
  return { kind: "none", path };
}

/** Proxies send the absolute form; only its path and query matter here. */
function originForm(url: string): string {
  if (url.startsWith("/")) return url;
  const match = /^https?:\/\/[^/?#]*([^#]*)/i.exec(url);
  if (match === null) return "/";
  const rest = match[1] ?? "";
  return rest.startsWith("/") ? rest : `/${rest}`;
}

/** `{id}` of `{id}.localhost`. */
function endpointLabel(name: string | undefined): string | undefined {
  if (name === undefined || !name.endsWith(LOCAL_SUFFIX)) return undefined;
  const label = name.slice(0, -LOCAL_SUFFIX.length);
  return label === "" || label.includes(".") ? undefined : label;
}

/** What follows the prefix, as it was written: an encoded slash is the worker's business. */
function restOf(target: string, prefix: string): string {
  const rest = target.slice(prefix.length);
  return rest.startsWith("/") ? rest : `/${rest}`;
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    return segment;
  }
}
