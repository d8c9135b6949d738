/** What makes endpoints large: the code of each by the package or file that it comes from. */

import { statSync } from "node:fs";
import { compare } from "./diagnostics.ts";
import { packageName } from "./esbuild-plugins.ts";
import type { PackEntry } from "./pack.ts";
import type { BuildResult } from "./project.ts";

/** Something that an endpoint carries along. */
export interface SizePart {
  /** Name of a package, or a project file. */
  name: string;
  /** `installed`: beside the bundle, as `dependencies` asks for; the others are in it. */
  kind: "file" | "package" | "installed";
  bytes: number;
}

export interface EndpointSize {
  name: string;
  /** The bundle without its source map. */
  codeBytes: number;
  mapBytes: number;
  /** Packages beside the bundle. */
  installedBytes: number;
  /** Largest first. */
  parts: SizePart[];
}

/** Sizes before compression, by endpoint, the largest first. Endpoints without code are left out. */
export function explainSizes({
  bundles,
  entries,
}: Pick<BuildResult, "bundles" | "entries">): EndpointSize[] {
  const installed = installedParts(entries);
  const sizes = [...bundles].map(([name, { code, map, sizes: inputs }]): EndpointSize => {
    const beside = installed.get(name) ?? [];
    return {
      name,
      codeBytes: code.length,
      mapBytes: map.length,
      installedBytes: beside.reduce((sum, { bytes }) => sum + bytes, 0),
      parts: [...bundledParts(inputs), ...beside].sort(bySize),
    };
  });
  const total = ({ codeBytes, installedBytes }: EndpointSize): number => codeBytes + installedBytes;
  return sizes.sort((a, b) => total(b) - total(a) || compare(a.name, b.name));
}

function bundledParts(inputs: Readonly<Record<string, number>>): SizePart[] {
  const parts = new Map<string, SizePart>();
  for (const [file, bytes] of Object.entries(inputs)) {
    // What esbuild and we add belongs to nobody.
    if (bytes === 0 || /^[\w-]{2,}:/.test(file)) continue;
    const inside = /^.*node_modules\/(.+)$/.exec(file)?.[1];
    const name = inside === undefined ? file : packageName(inside);
    const part = parts.get(name) ?? {
      name,
      kind: inside === undefined ? "file" : "package",
      bytes: 0,
    };
    part.bytes += bytes;
    parts.set(name, part);
  }
  return [...parts.values()];
}

/** By endpoint. */
function installedParts(entries: readonly PackEntry[]): Map<string, SizePart[]> {
  const found = new Map<string, Map<string, SizePart>>();
  for (const { path, content } of entries) {
    const [, endpoint = "", inside = ""] =
      /^endpoints\/([^/]+)\/node_modules\/(.+)$/.exec(path) ?? [];
    if (inside === "") continue;
    const parts = found.get(endpoint) ?? new Map<string, SizePart>();
    found.set(endpoint, parts);
    const name = packageName(inside);
    const part = parts.get(name) ?? { name, kind: "installed", bytes: 0 };
    part.bytes += content instanceof Uint8Array ? content.length : statSync(content.file).size;
    parts.set(name, part);
  }
  return new Map([...found].map(([endpoint, parts]) => [endpoint, [...parts.values()]]));
}

function bySize(a: SizePart, b: SizePart): number {
  return b.bytes - a.bytes || compare(a.name, b.name);
}
