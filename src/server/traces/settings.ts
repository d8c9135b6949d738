/** The OpenTelemetry variables that matter here, read once. Source: the OpenTelemetry specification, SDK configuration. */

import { FlashError } from "../../contract/errors.ts";

export type Environment = Readonly<Record<string, string | undefined>>;

export interface TraceSettings {
  /** Where batches of spans are posted. */
  url: string;
  headers: Readonly<Record<string, string>>;
  /** Of one post, ms. */
  timeoutMs: number;
  /** Of the resource: `service.name` and others. */
  resource: Readonly<Record<string, string>>;
  /** Of traces that begin here, this part is kept: 0 to 1. */
  ratio: number;
  /** A caller's own decision is followed. */
  followsParent: boolean;
  maxQueue: number;
  maxBatch: number;
  delayMs: number;
}

/** Undefined: nobody wants traces. Throws `INVALID_CONFIG` for what cannot be meant. */
export function readTraceSettings(env: Environment): TraceSettings | undefined {
  const own = filled(env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]);
  const base = filled(env["OTEL_EXPORTER_OTLP_ENDPOINT"]);
  const isOff =
    env["OTEL_SDK_DISABLED"]?.toLowerCase() === "true" || env["OTEL_TRACES_EXPORTER"] === "none";
  if (isOff || (own ?? base) === undefined) return undefined;
  const url = own ?? `${(base ?? "").replace(/\/+$/, "")}/v1/traces`;
  if (!/^https?:$/.test(URL.parse(url)?.protocol ?? "")) {
    throw new FlashError("INVALID_CONFIG", `OTEL_EXPORTER_OTLP_ENDPOINT is no http URL: '${url}'.`);
  }
  return {
    url,
    headers: {
      ...pairsOf(env["OTEL_EXPORTER_OTLP_HEADERS"]),
      ...pairsOf(env["OTEL_EXPORTER_OTLP_TRACES_HEADERS"]),
    },
    timeoutMs: numberOf(
      env["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"] ?? env["OTEL_EXPORTER_OTLP_TIMEOUT"],
      10_000,
    ),
    resource: {
      "service.name": "flash-server",
      ...pairsOf(env["OTEL_RESOURCE_ATTRIBUTES"]),
      ...(filled(env["OTEL_SERVICE_NAME"]) === undefined
        ? {}
        : { "service.name": env["OTEL_SERVICE_NAME"] ?? "" }),
    },
    ...samplerOf(env),
    maxQueue: numberOf(env["OTEL_BSP_MAX_QUEUE_SIZE"], 2048),
    maxBatch: numberOf(env["OTEL_BSP_MAX_EXPORT_BATCH_SIZE"], 512),
    delayMs: numberOf(env["OTEL_BSP_SCHEDULE_DELAY"], 5000),
  };
}

function samplerOf(env: Environment): Pick<TraceSettings, "ratio" | "followsParent"> {
  const name = filled(env["OTEL_TRACES_SAMPLER"]) ?? "parentbased_always_on";
  const followsParent = name.startsWith("parentbased_");
  const rule = followsParent ? name.slice("parentbased_".length) : name;
  if (rule === "always_on") return { ratio: 1, followsParent };
  if (rule === "always_off") return { ratio: 0, followsParent };
  const ratio = Number(filled(env["OTEL_TRACES_SAMPLER_ARG"]) ?? "1");
  if (rule === "traceidratio" && ratio >= 0 && ratio <= 1) return { ratio, followsParent };
  throw new FlashError(
    "INVALID_CONFIG",
    `OTEL_TRACES_SAMPLER '${name}' with OTEL_TRACES_SAMPLER_ARG '${env["OTEL_TRACES_SAMPLER_ARG"] ?? ""}' is not known.`,
    {
      hint: "Use always_on, always_off, traceidratio with 0 to 1, or one of these behind 'parentbased_'.",
    },
  );
}

/** `key=value,key=value`, percent-encoded. */
function pairsOf(text: string | undefined): Record<string, string> {
  const pairs = (text ?? "").split(",").flatMap((part): [string, string][] => {
    const cut = part.indexOf("=");
    return cut < 1 ? [] : [[part.slice(0, cut).trim(), decoded(part.slice(cut + 1).trim())]];
  });
  return Object.fromEntries(pairs);
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function numberOf(text: string | undefined, byDefault: number): number {
  const value = Number(filled(text) ?? Number.NaN);
  return Number.isFinite(value) && value > 0 ? value : byDefault;
}

function filled(text: string | undefined): string | undefined {
  return text === undefined || text.trim() === "" ? undefined : text.trim();
}
