/**
 * Metrics as text, in the format that Prometheus reads. Own code: all that is needed is here, and a
 * library would keep its own copy of every number.
 * Source: https://prometheus.io/docs/instrumenting/exposition_formats/, version 0.0.4.
 */

import type { Distribution } from "../../contract/store.ts";

export const EXPOSITION_TYPE = "text/plain; version=0.0.4; charset=utf-8";

export type Labels = Readonly<Record<string, string>>;
export type MetricType = "counter" | "gauge" | "histogram";

/** One metric: all samples of a name stand together, under its help. */
export class Family {
  readonly #name: string;
  readonly #lines: string[];

  constructor(name: string, type: MetricType, help: string) {
    this.#name = name;
    this.#lines = [
      `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`,
      `# TYPE ${name} ${type}`,
    ];
  }

  add(value: number, labels: Labels = {}): this {
    this.#lines.push(`${this.#name}${labelsText(labels)} ${numberText(value)}`);
    return this;
  }

  /** Cumulative buckets, sum and count. */
  addHistogram({ bounds, counts, sum }: Distribution, labels: Labels = {}): this {
    let total = 0;
    for (const [index, count] of counts.entries()) {
      total += count;
      const le = index < bounds.length ? String(bounds[index]) : "+Inf";
      const text = labelsText({ ...labels, le });
      this.#lines.push(`${this.#name}_bucket${text} ${numberText(total)}`);
    }
    const text = labelsText(labels);
    this.#lines.push(`${this.#name}_sum${text} ${numberText(sum)}`);
    this.#lines.push(`${this.#name}_count${text} ${numberText(total)}`);
    return this;
  }

  /** Empty without a sample. */
  get text(): string {
    return this.#lines.length === 2 ? "" : `${this.#lines.join("\n")}\n`;
  }
}

function labelsText(labels: Labels): string {
  const parts = Object.entries(labels).map(([name, value]) => `${name}="${escaped(value)}"`);
  return parts.length === 0 ? "" : `{${parts.join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

function numberText(value: number): string {
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}
