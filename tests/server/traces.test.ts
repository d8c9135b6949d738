/** Traces: what reaches a collector, a real HTTP server that reads OTLP's JSON, and what does not. */

import assert from "node:assert/strict";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { describe, test } from "node:test";
import type { Span } from "../../src/contract/span.ts";
import { silentLog } from "../../src/kit/log.ts";
import { Exporter } from "../../src/server/traces/exporter.ts";
import { readTraceSettings } from "../../src/server/traces/settings.ts";
import type { Owner } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { Queue, deployCode } from "./code-support.ts";
import { TestServer, backwards } from "./server-support.ts";

interface ReceivedSpan {
  traceId: string;
  spanId: string;
  parentSpanId?: string;
  traceState?: string;
  name: string;
  kind: number;
  startTimeUnixNano: string;
  endTimeUnixNano: string;
  attributes: { key: string; value: Record<string, unknown> }[];
  links?: { traceId: string; spanId: string }[];
  status: { code?: number; message?: string };
}

/** A collector with a knob: the statuses it answers with, the last one for ever. */
class Collector {
  readonly spans: ReceivedSpan[] = [];
  readonly headers: NodeJS.Dict<string | string[]>[] = [];
  readonly resources: unknown[] = [];
  statuses = [200];
  url = "";

  static async open(owner: Owner): Promise<Collector> {
    const collector = new Collector();
    const server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on("data", (chunk: Buffer) => chunks.push(chunk));
      request.on("end", () => {
        const { statuses } = collector;
        const status = (statuses.length > 1 ? statuses.shift() : statuses[0]) ?? 200;
        if (request.url !== "/v1/traces") response.statusCode = 404;
        else {
          response.statusCode = status;
          if (status === 200) collector.#take(Buffer.concat(chunks).toString(), request.headers);
        }
        response.end("{}");
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    collector.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    owner.after(() => {
      server.closeAllConnections();
      server.close();
    });
    return collector;
  }

  named(name: string): ReceivedSpan[] {
    return this.spans.filter((span) => span.name === name);
  }

  #take(text: string, headers: NodeJS.Dict<string | string[]>): void {
    const { resourceSpans } = JSON.parse(text) as {
      resourceSpans: {
        resource: { attributes: unknown[] };
        scopeSpans: { spans: ReceivedSpan[] }[];
      }[];
    };
    this.headers.push(headers);
    for (const { resource, scopeSpans } of resourceSpans) {
      this.resources.push(...resource.attributes);
      for (const { spans } of scopeSpans) this.spans.push(...spans);
    }
  }
}

function tracingTo({ url }: Collector, more: Record<string, string> = {}): Record<string, string> {
  return { OTEL_EXPORTER_OTLP_ENDPOINT: `${url}/`, OTEL_BSP_SCHEDULE_DELAY: "50", ...more };
}

const TRACE_ID = "0af7651916cd43dd8448eb211c80319c";
const PARENT = "b7ad6b7169203331";

const FLAKY = `
export const flaky = queue(async (input) => {
  if (context().attempt === 1) throw new Error("once more");
  return input;
});
`;
const FRONT = `
route("GET", "/trace", () => context().trace);
route("GET", "/fail", () => { throw new Error("no luck"); });
`;

describe("a server with a collector", () => {
  test("tells of a request, and of the function under it", async (t) => {
    const owner = backwards(t);
    const collector = await Collector.open(owner);
    const tracing = tracingTo(collector, {
      OTEL_SERVICE_NAME: "shop",
      OTEL_EXPORTER_OTLP_HEADERS: "x-tenant=my%20team",
    });
    const server = await TestServer.start(owner, { tracing });
    const options = { workers: [0, 1] as [number, number] };
    const front = { name: "front", routes: ["GET /trace", "GET /fail"], options, code: FRONT };
    const url = (await deployCode(owner, server, [front])).get("front")?.url ?? "";
    const headers = { traceparent: `00-${TRACE_ID}-${PARENT}-01`, tracestate: "vendor=1" };
    const { json } = await server.request(`${url}/trace?q=1`, { headers });
    assert.equal((await server.request(`${url}/fail`, { headers })).status, 500);
    await until(() => collector.spans.length >= 4, { what: "four spans" });

    const [request] = collector.named("GET front");
    const [ran] = collector.named("front GET /trace");
    assert.ok(request && ran);
    assert.deepEqual([request.traceId, request.parentSpanId, request.kind], [TRACE_ID, PARENT, 2]);
    assert.equal(request.traceState, "vendor=1");
    assert.deepEqual([ran.traceId, ran.parentSpanId, ran.kind], [TRACE_ID, request.spanId, 1]);
    assert.deepEqual([json.traceId, json.spanId, json.isSampled], [TRACE_ID, ran.spanId, true]);
    assert.ok(BigInt(request.startTimeUnixNano) <= BigInt(ran.endTimeUnixNano));
    const attributes = Object.fromEntries(request.attributes.map(({ key, value }) => [key, value]));
    assert.deepEqual(attributes["http.response.status_code"], { intValue: "200" });
    assert.deepEqual(attributes["url.path"], { stringValue: "/trace" });
    const [failed] = collector.named("front GET /fail");
    assert.deepEqual(failed?.status, { code: 2, message: "no luck" });
    assert.equal(collector.headers[0]?.["x-tenant"], "my team");
    assert.deepEqual(collector.resources[0], {
      key: "service.name",
      value: { stringValue: "shop" },
    });

    const unsampled = { traceparent: `00-${TRACE_ID}-${PARENT}-00` };
    await server.request(`${url}/trace`, { headers: unsampled });
    const last = await server.request(`${url}/trace`, { headers });
    await until(() => collector.named("front GET /trace").length === 2, { what: "the last span" });
    const ids = collector.named("front GET /trace").map(({ spanId }) => spanId);
    assert.deepEqual(ids, [ran.spanId, last.json.spanId]);
  });

  test("tells of a job's submission, its wait and every attempt", async (t) => {
    const owner = backwards(t);
    const collector = await Collector.open(owner);
    const server = await TestServer.start(owner, { tracing: tracingTo(collector) });
    const options = { retries: 1, workers: [0, 1] as [number, number] };
    const deployed = await deployCode(owner, server, [{ name: "flaky", options, code: FLAKY }]);
    const queue = new Queue(server, deployed.get("flaky"));
    const id = await queue.submit(1);
    assert.equal((await queue.finished(id)).status, "COMPLETED");
    await until(() => collector.named("flaky").length === 2, { what: "both runs" });
    await until(() => collector.named("process flaky").length === 2, { what: "both attempts" });

    const [submission] = collector.named("POST flaky");
    const [wait] = collector.named("wait flaky");
    const [first, second] = collector.named("process flaky");
    const runs = collector.named("flaky");
    assert.ok(submission && wait && first && second);
    assert.equal(submission.parentSpanId, undefined);
    assert.equal(wait.parentSpanId, submission.spanId);
    assert.deepEqual([first.parentSpanId, first.kind], [submission.spanId, 5]);
    assert.equal(first.status.code, 2);
    assert.equal(second.parentSpanId, undefined);
    assert.deepEqual(second.links, [{ traceId: submission.traceId, spanId: submission.spanId }]);
    assert.deepEqual(second.status, {});
    assert.deepEqual(
      runs.map(({ parentSpanId }) => parentSpanId),
      [first.spanId, second.spanId],
    );
    assert.equal(new Set(collector.spans.map(({ traceId }) => traceId)).size, 1);
  });
});

describe("the exporter", () => {
  const span = (name: string): Span => ({
    traceId: TRACE_ID,
    spanId: PARENT,
    name,
    kind: "internal",
    startMs: 1,
    endMs: 2.5,
    attributes: {},
  });

  async function exporterTo(collector: Collector, more: Record<string, string> = {}) {
    const settings = readTraceSettings(tracingTo(collector, more));
    assert.ok(settings);
    return new Exporter({ settings, version: "0", log: silentLog });
  }

  test("drops and counts what does not fit, and what nobody takes", async (t) => {
    const collector = await Collector.open(t);
    const small = await exporterTo(collector, { OTEL_BSP_MAX_QUEUE_SIZE: "3" });
    for (const name of ["a", "b", "c", "d", "e"]) small.add(span(name));
    await small.close();
    small.add(span("late"));
    assert.deepEqual(small.statistics, { exported: 3, dropped: 3 });
    assert.deepEqual(
      collector.spans.map(({ name }) => name),
      ["a", "b", "c"],
    );
    assert.equal(collector.spans[0]?.endTimeUnixNano, "2500000");

    collector.statuses = [400];
    const refused = await exporterTo(collector);
    refused.add(span("f"));
    await refused.close();
    assert.deepEqual(refused.statistics, { exported: 0, dropped: 1 });
  });

  test("tries again when the collector asks for it", async (t) => {
    const collector = await Collector.open(t);
    collector.statuses = [503, 200];
    const exporter = await exporterTo(collector);
    exporter.add(span("patient"));
    await exporter.flush();
    assert.deepEqual(exporter.statistics, { exported: 1, dropped: 0 });
    await exporter.close();
  });

  test("is there only when the variables ask for it", () => {
    const endpoint = { OTEL_EXPORTER_OTLP_ENDPOINT: "http://127.0.0.1:4318" };
    assert.equal(readTraceSettings({}), undefined);
    assert.equal(readTraceSettings({ ...endpoint, OTEL_SDK_DISABLED: "true" }), undefined);
    assert.equal(readTraceSettings({ ...endpoint, OTEL_TRACES_EXPORTER: "none" }), undefined);
    const sampler = { OTEL_TRACES_SAMPLER: "traceidratio", OTEL_TRACES_SAMPLER_ARG: "0.25" };
    const settings = readTraceSettings({ ...endpoint, ...sampler });
    assert.deepEqual([settings?.ratio, settings?.followsParent], [0.25, false]);
    assert.equal(settings?.url, "http://127.0.0.1:4318/v1/traces");
    for (const wrong of [
      { OTEL_EXPORTER_OTLP_ENDPOINT: "collector" },
      { ...endpoint, OTEL_TRACES_SAMPLER: "sometimes" },
      { ...endpoint, ...sampler, OTEL_TRACES_SAMPLER_ARG: "2" },
    ]) {
      assert.throws(() => readTraceSettings(wrong), { code: "INVALID_CONFIG" });
    }
  });
});
