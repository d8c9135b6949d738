/** Values of a stream that are sent twice, because the worker did not hear that they had arrived. */

import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import path from "node:path";
import { describe, test } from "node:test";
import { temporaryFolder } from "../support/temp.ts";
import { until } from "../support/until.ts";
import { serveImage, type ImageWorker } from "./image-support.ts";

const LONG = 1_200_000;

/** The second value is as long as several chunks. */
const CODE = `
import { existsSync } from "node:fs";
queue(async function* ({ gate }) {
  yield "first";
  while (!existsSync(gate)) await new Promise((resolve) => setTimeout(resolve, 20));
  yield "x".repeat(${LONG});
  yield { third: true };
  yield { third: true };
});`;

/** True when the server has acknowledged a value that the worker has sent since the last mark. */
function isAcknowledged({ proxy }: ImageWorker): boolean {
  return proxy.connections.some(({ sent, answered }) =>
    sent.startsWith("POST ")
      ? answered.startsWith("HTTP/1.1 200 ")
      : sent.includes('"chunk":') && answered.includes('"ack":'),
  );
}

describe("a value whose acknowledgement is lost with the connection", { concurrency: true }, () => {
  for (const carrier of ["link", "HTTP"] as const) {
    test(`is in the stream once, over ${carrier}`, async (t) => {
      const { queue, startWorker, read } = await serveImage(t, CODE);
      const gate = path.join(temporaryFolder(t), "gate");
      const worker = await startWorker(carrier);
      const id = await queue.submit({ gate });
      const reader = await read(id);
      await reader.untilData(1);
      const first = await queue.chunks(id);
      await until(() => isAcknowledged(worker), { what: "the first acknowledgement" });
      worker.proxy.hold();
      worker.proxy.mark();
      writeFileSync(gate, "");
      await until(() => isAcknowledged(worker), { what: "the second acknowledgement" });
      worker.proxy.cut();
      assert.equal((await queue.finished(id)).status, "COMPLETED");
      await reader.end();
      for (const values of [reader.data, [...first, ...(await queue.chunks(id))]]) {
        assert.equal(values[0], "first");
        assert.equal(values.slice(1, -2).join("").length, LONG);
        assert.deepEqual(values.slice(-2), [{ third: true }, { third: true }]);
      }
    });
  }
});
