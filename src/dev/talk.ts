/** What the dev server tells the person who started it: pure functions from events to lines. */

import pc from "picocolors";
import { formatDiagnostics } from "../compiler/compiler.ts";
import type { EndpointManifest, Manifest } from "../contract/manifest.ts";
import type { TypeNews } from "./type-errors.ts";

/** `system`: what the server says about a worker. */
export type OutputStream = "stdout" | "stderr" | "system";

/** What happens while a project runs, in order. */
export type DevEvent =
  | { kind: "port-taken"; wanted: number; used: number }
  /** The first good build is being served. */
  | {
      kind: "ready";
      url: string;
      manifest: Manifest;
      /** The file with the key, where one is needed. */
      keyFile?: string;
      /** Live workers, under `--remote`. */
      live?: { url: string; has: (endpoint: string) => boolean };
    }
  | { kind: "reloaded"; manifest: Manifest; changed: readonly string[]; tookMs: number }
  /** A build failed; `keepsServing` when an earlier one still answers. */
  | { kind: "failed"; text: string; keepsServing: boolean }
  | ({ kind: "types" } & TypeNews)
  /** Something that does not stop the build. */
  | { kind: "warning"; text: string }
  /** A worker wrote a line. */
  | { kind: "output"; endpoint: string; stream: OutputStream; text: string }
  | { kind: "stopping" };

export type Colors = ReturnType<typeof pc.createColors>;

/** The event as text for a terminal, without a line end. */
export function describeEvent(event: DevEvent, colors: Colors): string {
  switch (event.kind) {
    case "port-taken":
      return `port ${event.wanted} in use, using ${event.used}`;
    case "ready":
      return startTable(event, colors);
    case "reloaded": {
      const what = event.changed.join(", ");
      return `${colors.green("✓")} reloaded ${what}  ${colors.dim(`${Math.round(event.tookMs)} ms`)}`;
    }
    case "failed":
      return `${event.text}\n\n${colors.red("✗")} ${
        event.keepsServing ? "still serving the last good build" : "nothing is served"
      }; fix it and save`;
    case "types":
      return describeTypes(event, colors);
    case "warning":
      return event.text;
    case "output":
      return `${colors.dim(`${event.endpoint} |`)} ${
        event.stream === "system" ? colors.dim(event.text) : event.text
      }`;
    case "stopping":
      return "stopping...";
    default:
      return event satisfies never;
  }
}

/** How many type errors are shown at once; a wrong setting makes one of every line. */
const SHOWN_TYPE_ERRORS = 10;

function describeTypes({ fresh, left }: TypeNews, colors: Colors): string {
  if (left === 0) return `${colors.green("✓")} no type errors left`;
  const shown = formatDiagnostics(fresh.slice(0, SHOWN_TYPE_ERRORS));
  const hidden = fresh.length - SHOWN_TYPE_ERRORS;
  const count = left === 1 ? "1 type error" : `${left} type errors`;
  return [
    ...(shown === "" ? [] : [shown, ""]),
    ...(hidden > 0 ? [`and ${hidden} more: npx tsc --noEmit`, ""] : []),
    `${colors.yellow("!")} ${count}; what is served runs all the same`,
  ].join("\n");
}

interface Row {
  method: string;
  path: string;
  name: string;
  kind: string;
  summary: string;
}

/** Method, path, function, kind and description of everything that can be called. */
function startTable(event: DevEvent & { kind: "ready" }, colors: Colors): string {
  const rows = event.manifest.endpoints.flatMap((endpoint) =>
    rowsOf(endpoint, event.live?.has(endpoint.name) === true),
  );
  const width = (column: keyof Row): number =>
    Math.max(0, ...rows.map((row) => row[column].length));
  const widths = { method: width("method"), path: width("path"), name: width("name") };
  const lines = rows.map(({ method, path, name, kind, summary }) =>
    [
      `  ${colors.bold(method.padEnd(widths.method))}`,
      path.padEnd(widths.path),
      name.padEnd(widths.name),
      kind.padEnd(width("kind")),
      colors.dim(summary),
    ]
      .join("  ")
      .trimEnd(),
  );
  return [
    "",
    `${colors.bold("flash dev")}  ${event.url}`,
    "",
    ...lines,
    "",
    `  docs  ${event.url}/docs`,
    ...(event.keyFile === undefined ? [] : [`  key   ${event.keyFile}`]),
    ...liveLines(event),
    "  stop  ctrl+c",
    "",
  ].join("\n");
}

function liveLines({ live, manifest, url }: DevEvent & { kind: "ready" }): string[] {
  if (live === undefined) return [];
  const { length } = manifest.endpoints.filter(({ name }) => live.has(name));
  if (length === 0) return [`  live  ${live.url}, but no endpoint is of a Live resource`];
  return [`  live  ${live.url}`, `        scripts call it with FLASH_LIVE_URL=${url}`];
}

function rowsOf(endpoint: EndpointManifest, isRemote: boolean): Row[] {
  const base = `/${endpoint.name}`;
  if (endpoint.form === "image") return [];
  if (endpoint.kind === "qb") {
    const names = endpoint.functions.map((one) => one.name);
    const summary = endpoint.functions.find((one) => one.summary !== undefined)?.summary ?? "";
    return [
      {
        method: "POST",
        path: `${base}/runsync`,
        name: names.join(", "),
        kind: isRemote ? "QB (live)" : "QB",
        summary,
      },
    ];
  }
  return endpoint.functions.flatMap(({ name, route, summary = "" }) =>
    route === undefined
      ? []
      : [
          {
            method: route.method,
            path: base + route.path,
            name,
            kind: isRemote ? "LB (live)" : endpoint.live ? "LB (local)" : "LB",
            summary,
          },
        ],
  );
}
