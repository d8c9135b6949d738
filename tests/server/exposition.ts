/** A strict reader of the Prometheus text format: whatever a scraper could stumble over is an error. */

import assert from "node:assert/strict";

export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

export interface MetricFamily {
  type: string;
  help: string;
  samples: Sample[];
}

const NAME = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)/;

export function parseExposition(text: string): Map<string, MetricFamily> {
  assert.ok(text.endsWith("\n"), "the last line ends");
  const families = new Map<string, MetricFamily>();
  let current: [name: string, family: MetricFamily] | undefined;
  for (const line of text.slice(0, -1).split("\n")) {
    const [, keyword, name = "", rest = ""] = /^# (HELP|TYPE) (\S+) (.*)$/.exec(line) ?? [];
    if (keyword === "HELP") {
      assert.match(name, NAME);
      assert.ok(!families.has(name), `${name} comes in one piece`);
      current = [name, { type: "", help: rest, samples: [] }];
      families.set(...current);
    } else if (keyword === "TYPE") {
      assert.ok(
        current?.[0] === name && current[1].type === "",
        `the type follows the help: ${line}`,
      );
      assert.match(rest, /^(counter|gauge|histogram)$/);
      current[1].type = rest;
    } else {
      assert.ok(current, line);
      addSample(line, current);
    }
  }
  for (const [name, family] of families) checkFamily(name, family);
  return families;
}

function addSample(line: string, [name, family]: [string, MetricFamily]): void {
  const [, sample = "", labels = "", value = ""] = SAMPLE.exec(line) ?? assert.fail(`'${line}'`);
  const suffixes = family.type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
  assert.ok(suffixes.includes(sample.slice(name.length)) && sample.startsWith(name), line);
  const number = value === "+Inf" ? Infinity : Number(value);
  assert.ok(value !== "" && !Number.isNaN(number), line);
  family.samples.push({ name: sample, labels: labelsOf(labels), value: number });
}

function labelsOf(text: string): Record<string, string> {
  const labels: Record<string, string> = {};
  for (let rest = text; rest !== "";) {
    const [whole, name = "", value = ""] = LABEL.exec(rest) ?? assert.fail(`labels '${rest}'`);
    assert.ok(!(name in labels), `${name} stands once in ${text}`);
    labels[name] = value.replaceAll(/\\(.)/g, (_, sign) => (sign === "n" ? "\n" : String(sign)));
    rest = rest.slice(whole.length);
  }
  return labels;
}

function checkFamily(name: string, { type, samples }: MetricFamily): void {
  assert.notEqual(type, "", `${name} has a type`);
  assert.notEqual(samples.length, 0, `${name} has samples`);
  const seen = new Set(samples.map(({ name, labels }) => name + JSON.stringify(labels)));
  assert.equal(seen.size, samples.length, `${name} has each series once`);
  if (type === "counter") {
    assert.match(name, /_total$/);
    assert.ok(samples.every(({ value }) => value >= 0));
  }
  if (type === "histogram") checkHistogram(name, samples);
}

function checkHistogram(name: string, samples: readonly Sample[]): void {
  const series = new Map<string, Sample[]>();
  for (const sample of samples) {
    const { le: _le, ...labels } = sample.labels;
    const key = JSON.stringify(labels);
    series.set(key, [...(series.get(key) ?? []), sample]);
  }
  for (const own of series.values()) {
    const buckets = own.filter((sample) => sample.name === `${name}_bucket`);
    const bounds = buckets.map(({ labels }) =>
      labels["le"] === "+Inf" ? Infinity : Number(labels["le"]),
    );
    assert.deepEqual(
      bounds,
      [...bounds].sort((a, b) => a - b),
      `${name}: buckets ascend`,
    );
    assert.equal(bounds.at(-1), Infinity);
    const counts = buckets.map(({ value }) => value);
    assert.deepEqual(
      counts,
      [...counts].sort((a, b) => a - b),
      `${name}: buckets are cumulative`,
    );
    const count = own.find((sample) => sample.name === `${name}_count`);
    assert.equal(count?.value, counts.at(-1));
    assert.ok(own.some((sample) => sample.name === `${name}_sum`));
  }
}
