import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { until } from "../support/until.ts";
import { settleDown } from "./jobs-support.ts";
import { CUT_HEADER, serveApi, type Answer, type Api, type Asked } from "./http-support.ts";

const MIB = 1024 * 1024;

function asWorker(api: Api, worker = "wk1") {
  return (path: string, asked: Asked = {}): Promise<Answer> =>
    api.ask(path, {
      ...asked,
      headers: { authorization: `secret-of-${worker}`, ...asked.headers },
    });
}

/** As the Python worker posts: raw JSON that calls itself a form. */
function post(body: string, headers: Record<string, string> = {}): Asked {
  return {
    method: "POST",
    headers: { "content-type": "application/x-www-form-urlencoded", charset: "utf-8", ...headers },
    body,
  };
}

/** A poll that has arrived and is held. */
async function heldPoll(
  api: Api,
  path: string,
  asked: Asked = {},
): Promise<{ answer: Promise<Answer> }> {
  const before = api.arrived();
  const answer = asWorker(api)(path, asked);
  answer.catch(() => undefined);
  await until(() => api.arrived() > before, { what: "the poll" });
  await settleDown(api.store);
  return { answer };
}

describe("job-take", () => {
  test("gives one job with its input, attempt, limit and extra keys", async (t) => {
    const api = await serveApi(t);
    const body = '{"input":{"big":12345678901234567890},"s3Config":{"bucketName":"b"}}';
    const { id } = await api.ok("/run", { body });
    const { status, text, headers } = await asWorker(api)(
      "/job-take/wk1?gpu=CPU&job_in_progress=0",
    );
    assert.equal(status, 200);
    assert.equal(headers["content-type"], "application/json");
    assert.equal(
      text,
      `{"s3Config":{"bucketName":"b"},"id":"${String(id)}","attempt":1,"executionTimeout":600000,"input":{"big":12345678901234567890}}`,
    );
    assert.deepEqual(api.seen, ["wk1"]);
  });

  test("is held until a job comes, and for 20 s when none does", async (t) => {
    const api = await serveApi(t);
    const first = await heldPoll(api, "/job-take/wk1");
    const { id } = await api.ok("/run", { body: { input: {} } });
    const { json } = await first.answer;
    assert.equal((json as { id: string }).id, id);
    const second = await heldPoll(api, "/job-take/wk1");
    let answered = false;
    void second.answer.finally(() => (answered = true));
    await api.pass(19_750);
    assert.equal(answered, false);
    await api.pass(250);
    const { status, text } = await second.answer;
    assert.deepEqual([status, text], [204, ""]);
  });

  test("finds the worker and the parameters when the template had no question mark", async (t) => {
    const api = await serveApi(t);
    await Promise.all([1, 2, 3].map(() => api.ok("/run", { body: { input: {} } })));
    const { json } = await asWorker(api)("/job-take-batch/wk1&job_in_progress=0&batch_size=2");
    assert.equal((json as unknown[]).length, 2);
    const { status } = await asWorker(api)("/ping/wk1&gpu=CPU&runpod_version=1.12.0");
    assert.equal(status, 200);
  });

  test("knows the worker by its key when the id was left unexpanded", async (t) => {
    const api = await serveApi(t);
    const { id } = await api.ok("/run", { body: { input: {} } });
    assert.equal((await asWorker(api)("/job-take/$RUNPOD_POD_ID?gpu=CPU")).status, 200);
    assert.equal((await api.get(String(id)))?.workerId, "wk1");
  });

  test("a batch is always a list, and never more than was asked for", async (t) => {
    const api = await serveApi(t);
    const sizes: number[] = [];
    for (const size of ["1", "3", "nonsense", "-5", "0"]) {
      await Promise.all([1, 2, 3, 4].map(() => api.ok("/run", { body: { input: {} } })));
      const { json } = await asWorker(api)(`/job-take-batch/wk1?batch_size=${size}`);
      sizes.push((json as unknown[]).length);
      await api.jobs.purge("ep1");
    }
    assert.deepEqual(sizes, [1, 3, 1, 1, 1]);
  });

  test("a client that has hung up is not handed a job", async (t) => {
    const api = await serveApi(t);
    const gone = new AbortController();
    const { answer } = await heldPoll(api, "/job-take/wk1", { signal: gone.signal });
    gone.abort();
    await assert.rejects(answer);
    await until(() => api.open() === 0, { what: "the server to notice" });
    const { id } = await api.ok("/run", { body: { input: {} } });
    const taken = await api.take("wk2");
    assert.deepEqual([taken.id, taken.attempt], [id, 1]);
  });

  test("a job whose connection breaks under the answer goes back without a failure", async (t) => {
    const api = await serveApi(t);
    const { id } = await api.ok("/run", { body: { input: {} } });
    await assert.rejects(asWorker(api)("/job-take/wk1", { headers: { [CUT_HEADER]: "yes" } }));
    const job = await until(
      async () => {
        const now = await api.get(String(id));
        return now?.state === "IN_QUEUE" ? now : undefined;
      },
      { what: "the job to be back" },
    );
    assert.deepEqual([job.failures, job.attempt], [0, 1]);
  });

  test("a wrong key is 401 and takes nothing", async (t) => {
    const api = await serveApi(t);
    await api.ok("/run", { body: { input: {} } });
    const { status, json } = await api.ask("/job-take/wk1", {
      headers: { authorization: "nonsense" },
    });
    assert.equal(status, 401);
    assert.equal((json as { code: string }).code, "UNAUTHORIZED");
    assert.equal((await api.jobs.counts("ep1")).inQueue, 1);
  });
});

describe("job-done", () => {
  async function taken(
    t: Parameters<typeof serveApi>[0],
    options: Parameters<typeof serveApi>[1] = {},
  ) {
    const api = await serveApi(t, { retries: 0, ...options });
    const { id } = await api.ok("/run", { body: { input: {} } });
    await api.take();
    const url = `/job-done/wk1/${String(id)}?gpu=CPU&isStream=false`;
    return { api, id: String(id), url, status: () => api.ok(`/status/${String(id)}`) };
  }

  for (const [what, body, state, rest] of [
    ["a value", '{"output": {"echo": "ü😀"}}', "COMPLETED", { output: { echo: "ü😀" } }],
    ["null", '{"output": null}', "COMPLETED", { output: null }],
    ["no output", "{}", "COMPLETED", {}],
    ["an error", '{"error": "boom"}', "FAILED", { error: "boom" }],
    [
      "an error object beside an output",
      '{"error": {"a": 1}, "output": 5}',
      "FAILED",
      { error: '{"a":1}', output: 5 },
    ],
    ["an aggregated stream", '{"output": []}', "COMPLETED", { output: [] }],
  ] as const) {
    test(`keeps ${what}`, async (t) => {
      const { api, url, status } = await taken(t);
      assert.equal((await asWorker(api)(url, post(body))).status, 200);
      const {
        id: _id,
        delayTime: _d,
        executionTime: _e,
        workerId,
        flash,
        ...seen
      } = await status();
      assert.deepEqual(seen, { status: state, ...rest });
      assert.equal(flash !== undefined, state === "FAILED", "why is told of failures alone");
      assert.equal(workerId, "wk1");
    });
  }

  for (const [body, pattern] of [
    ['{"output": NaN}', /cannot be read: it is not JSON: .*NaN and Infinity are not JSON/],
    ["output=1", /it is not JSON/],
    ["[1]", /it is not a JSON object/],
    ["", /it is not JSON/],
  ] as const) {
    test(`fails the job with a clear message for ${body || "nothing"}, and answers 200`, async (t) => {
      // The endpoint has retries left: sending the same again would not help.
      const { api, url, status } = await taken(t, { retries: 5 });
      assert.equal((await asWorker(api)(url, post(body))).status, 200);
      const job = await status();
      assert.equal(job["status"], "FAILED");
      assert.match(String(job["error"]), pattern);
    });
  }

  test("reads a result over every limit to its end and fails the job", async (t) => {
    const { api, url, status } = await taken(t);
    const { status: code } = await asWorker(api)(url, post(`{"output":"${"x".repeat(25 * MIB)}"}`));
    assert.equal(code, 200);
    assert.match(String((await status())["error"]), /larger than 20971520 bytes/);
  });

  test("answers 200 to duplicates, unknown jobs, other workers and earlier attempts, and changes nothing", async (t) => {
    const { api, id, url, status } = await taken(t);
    const wrong = post('{"output": "wrong"}');
    assert.equal((await asWorker(api)("/job-done/wk1/unknown?x=1", wrong)).status, 200);
    assert.equal((await asWorker(api, "wk2")(url, wrong)).status, 200);
    const earlier = post('{"output": "wrong"}', { "x-flash-attempt": "7" });
    assert.equal((await asWorker(api)(url, earlier)).status, 200);
    assert.equal((await status())["status"], "IN_PROGRESS");
    const right = post('{"output": "right"}', {
      "x-flash-attempt": "1",
      "x-request-id": "other-job",
    });
    assert.equal((await asWorker(api)(url, right)).status, 200);
    assert.equal((await asWorker(api)(url, wrong)).status, 200);
    await api.ok(`/cancel/${id}`, { method: "POST" });
    assert.equal((await status())["output"], "right");
  });

  test("progress shows until the end and is ignored afterwards", async (t) => {
    const { api, url, status } = await taken(t);
    const progress = post('{"status": "IN_PROGRESS", "output": {"step": 0}}');
    await asWorker(api)(url, progress);
    assert.deepEqual((await status())["output"], { step: 0 });
    await asWorker(api)(url, post('{"output": "done"}'));
    assert.equal((await asWorker(api)(url, progress)).status, 200);
    assert.equal((await status())["output"], "done");
  });

  test("a result that cannot be stored is answered 5xx, so that the worker tries again", async (t) => {
    const { api, url } = await taken(t);
    await api.store.close();
    const { status } = await asWorker(api)(url, post('{"output": 1}'));
    assert.ok(status >= 500, String(status));
  });
});

describe("job-stream", () => {
  test("keeps chunks in order for the client", async (t) => {
    const api = await serveApi(t);
    const { id } = await api.ok("/run", { body: { input: {} } });
    await api.take();
    const url = `/job-stream/wk1/${String(id)}?gpu=CPU&isStream=false`;
    for (const chunk of ['"chunk 0"', "1.0", "null"]) {
      assert.equal((await asWorker(api)(url, post(`{"output": ${chunk}}`))).status, 200);
    }
    const { text } = await api.ask(`/stream/${String(id)}`);
    assert.equal(
      text,
      '{"status":"IN_PROGRESS","stream":[{"output":"chunk 0"},{"output":1.0},{"output":null}]}',
    );
    await asWorker(api)(`/job-done/wk1/${String(id)}?isStream=true`, post('{"output": []}'));
    assert.equal((await asWorker(api)(url, post('{"output": "late"}'))).status, 200);
    const { text: end } = await api.ask(`/stream/${String(id)}`);
    assert.equal(end, '{"status":"COMPLETED","stream":[]}');
  });

  test("a chunk that is not JSON fails the job", async (t) => {
    const api = await serveApi(t);
    const { id } = await api.ok("/run", { body: { input: {} } });
    await api.take();
    const url = `/job-stream/wk1/${String(id)}?x=1`;
    assert.equal((await asWorker(api)(url, post('{"output": Infinity}'))).status, 200);
    assert.equal((await api.get(String(id)))?.state, "FAILED");
  });
});

describe("ping and job-stop", () => {
  test("pings renew the leases of the jobs they list", async (t) => {
    const api = await serveApi(t);
    const ids = [1, 2].map(async () =>
      String((await api.ok("/run", { body: { input: {} } }))["id"]),
    );
    const [a = "", b = ""] = await Promise.all(ids);
    await api.take();
    await api.take();
    const listed = `/ping/wk1?gpu=CPU&job_id=${encodeURIComponent(`${a},${b}`)}&runpod_version=1.12.0`;
    for (let second = 0; second < 10; second++) {
      assert.equal((await asWorker(api)(listed)).status, 200);
      await api.pass(1000);
    }
    assert.equal((await api.jobs.counts("ep1")).inProgress, 2);
    await api.pass(4500);
    assert.equal((await api.jobs.counts("ep1")).inQueue, 2);
  });

  test("an unhealthy report is passed on", async (t) => {
    const api = await serveApi(t);
    await asWorker(api)("/ping/wk1?gpu=CPU&status=unhealthy&check=_memory_check&reason=low");
    assert.deepEqual(api.unhealthy, ["wk1 _memory_check"]);
  });

  test("a cancelled running job comes out of the held stop poll at once", async (t) => {
    const api = await serveApi(t);
    const { id } = await api.ok("/run", { body: { input: {} } });
    await api.take();
    const { answer } = await heldPoll(api, "/job-stop/wk1?gpu=CPU");
    assert.deepEqual(await api.ok(`/cancel/${String(id)}`, { method: "POST" }), {
      id,
      status: "CANCELLED",
    });
    assert.deepEqual((await answer).json, { jobsToStop: [id] });
  });

  test("draining ends the open polls with 204", async (t) => {
    const api = await serveApi(t);
    const take = await heldPoll(api, "/job-take/wk1?gpu=CPU");
    const stop = await heldPoll(api, "/job-stop/wk1?gpu=CPU");
    api.jobs.drainWorker("wk1");
    assert.deepEqual([(await take.answer).status, (await stop.answer).status], [204, 204]);
  });

  test("an unknown operation is 404", async (t) => {
    const api = await serveApi(t);
    assert.equal((await asWorker(api)("/job-nonsense/wk1")).status, 404);
  });
});
