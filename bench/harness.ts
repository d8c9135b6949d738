/**
 * What every suite shares: peers as child processes on free ports, interleaved rounds, medians and
 * ratios. A shared machine drifts, so nothing is compared across runs: in each round every subject is
 * measured once, in turn, and only ratios within a round count.
 */

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import type { LoadRequest, LoadResult } from "./load.ts";

const MACHINE = `${os.cpus().length} x ${os.cpus()[0]?.model ?? "?"}, Node ${process.version}`;

/** One thing to measure. `measure` is called once a round and returns figures by name. */
export interface Subject {
  name: string;
  measure(): Promise<Record<string, number>>;
  close(): Promise<void>;
}

export interface Report {
  suite: string;
  rounds: number;
  machine: string;
  /** Medians by subject and figure. */
  medians: Record<string, Record<string, number>>;
  /** 95th percentiles by subject and figure. */
  p95s: Record<string, Record<string, number>>;
  /** Median over rounds of subject / baseline, by figure. */
  ratios: Record<string, Record<string, number>>;
  /** All figures by subject, one record a round. */
  samples: Record<string, Record<string, number>[]>;
  baseline: string;
}

/** Measures all subjects `rounds` times in turn. The first round warms up and is not counted. */
export async function interleave(
  suite: string,
  subjects: readonly Subject[],
  options: { rounds: number; baseline: string },
): Promise<Report> {
  const samples = new Map<string, Record<string, number>[]>(subjects.map(({ name }) => [name, []]));
  for (let round = 0; round <= options.rounds; round++) {
    for (const subject of subjects) {
      const figures = await subject.measure();
      if (round > 0) samples.get(subject.name)?.push(figures);
      process.stderr.write(
        `${suite} ${round}/${options.rounds} ${subject.name} ${show(figures)}\n`,
      );
    }
  }
  const base = samples.get(options.baseline) ?? [];
  return {
    suite,
    rounds: options.rounds,
    machine: MACHINE,
    medians: mapValues(samples, (rows) =>
      byFigure(rows, (figure) => rows.map((row) => row[figure] ?? 0)),
    ),
    p95s: mapValues(samples, (rows) =>
      byFigure(rows, (figure) => rows.map((row) => row[figure] ?? 0), p95),
    ),
    ratios: mapValues(samples, (rows) =>
      byFigure(rows, (figure) =>
        rows.map((row, index) => (row[figure] ?? 0) / (base[index]?.[figure] ?? 1)),
      ),
    ),
    samples: Object.fromEntries(samples),
    baseline: options.baseline,
  };
}

export function printReport(report: Report): void {
  const figures = [...new Set(Object.values(report.medians).flatMap((row) => Object.keys(row)))];
  const rows = Object.entries(report.medians).map(([name, medians]) => [
    name,
    ...figures.flatMap((figure) => [
      round(medians[figure] ?? 0),
      `${(report.ratios[name]?.[figure] ?? 0).toFixed(2)}x`,
      round(report.p95s[name]?.[figure] ?? 0),
    ]),
  ]);
  const head = ["subject", ...figures.flatMap((figure) => [figure, "vs base", "p95"])];
  process.stdout.write(
    `\n### ${report.suite} (median of ${report.rounds} interleaved rounds; base: ${report.baseline})\n\n`,
  );
  process.stdout.write(
    `${report.machine}\n\n| ${head.join(" | ")} |\n|${head.map(() => "---").join("|")}|\n`,
  );
  for (const row of rows) process.stdout.write(`| ${row.join(" | ")} |\n`);
  keep(report.suite, report);
}

/** One figure of a suite that has no peers. */
export interface Row {
  what: string;
  value: number;
  unit: string;
}

/** Prints the figures of a suite without peers, and keeps them as {@link printReport} does. */
export function printRows(suite: string, rows: readonly Row[]): void {
  process.stdout.write(`\n### ${suite}\n\n${MACHINE}\n\n|  |  |\n|---|---|\n`);
  for (const { what, value, unit } of rows) {
    process.stdout.write(`| ${what} | ${round(value)} ${unit} |\n`);
  }
  keep(suite, { suite, machine: MACHINE, rows });
}

function keep(suite: string, report: unknown): void {
  const folder = path.join(import.meta.dirname, "results");
  mkdirSync(folder, { recursive: true });
  writeFileSync(path.join(folder, `${suite}.json`), `${JSON.stringify(report, null, 2)}\n`);
}

/** Starts a program and waits until it prints a line that holds `ready`. */
export async function startProgram(
  command: string,
  args: readonly string[],
  options: { env?: Record<string, string>; ready: string; cwd?: string },
): Promise<ChildProcess> {
  const child = spawn(command, args, {
    env: { ...process.env, ...options.env },
    cwd: options.cwd,
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout });
  await new Promise<void>((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) =>
      reject(new Error(`${command} ${args.join(" ")} ended with ${code}`)),
    );
    lines.on("line", (line) => {
      if (line.includes(options.ready)) resolve();
    });
  });
  child.stdout.resume();
  return child;
}

export async function stopProgram(
  child: ChildProcess,
  signal: NodeJS.Signals = "SIGTERM",
): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exit = once(child, "exit");
  child.kill(signal);
  await exit;
}

/** The load generator as a process of its own, so that it does not share a thread with the harness. */
export class LoadProcess {
  readonly #child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor() {
    this.#child = spawn(process.execPath, [path.join(import.meta.dirname, "load.ts")], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    if (this.#child.stdout === null) throw new Error("the load generator has no output");
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]();
  }

  async run(request: LoadRequest): Promise<LoadResult> {
    this.#child.stdin?.write(`${JSON.stringify(request)}\n`);
    const { value } = await this.#lines.next();
    const result = JSON.parse(String(value)) as LoadResult;
    if (result.errors > 0)
      throw new Error(`${result.errors} of ${result.requests} answers were wrong`);
    return result;
  }

  async close(): Promise<void> {
    this.#child.stdin?.end();
    await stopProgram(this.#child);
  }
}

export async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? 0;
}

function p95(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length * 0.95)] ?? 0;
}

function mapValues<T, R>(map: ReadonlyMap<string, T>, change: (value: T) => R): Record<string, R> {
  return Object.fromEntries([...map].map(([key, value]) => [key, change(value)]));
}

function byFigure(
  rows: readonly Record<string, number>[],
  values: (figure: string) => number[],
  middle: (values: readonly number[]) => number = median,
): Record<string, number> {
  return Object.fromEntries(
    Object.keys(rows[0] ?? {}).map((figure) => [figure, middle(values(figure))]),
  );
}

function show(figures: Record<string, number>): string {
  return Object.entries(figures)
    .map(([name, value]) => `${name}=${round(value)}`)
    .join(" ");
}

function round(value: number): string {
  return value >= 100 ? value.toFixed(0) : value.toFixed(value >= 10 ? 1 : 3);
}
