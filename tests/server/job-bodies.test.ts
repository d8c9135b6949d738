/** What bodies of the job API and the worker protocol may be made of: nothing is altered on its way. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { gzipSync } from "node:zlib";
import { serveApi, type Answer, type Api } from "./http-support.ts";

const BOM = Buffer.from([0xef, 0xbb, 0xbf]);
/** `{"input":"a?b"}` with something that is no UTF-8 in the place of the question mark. */
const NOT_UTF8: readonly [what: string, bytes: number[]][] = [
  ["a byte that is in no text", [0xff]],
  ["half a character", [0xc3]],
  ["a slash on two bytes", [0xc0, 0xaf]],
  ["half a surrogate pair", [0xed, 0xa0, 0x80]],
];
const DEEP = 30_000;

function around(bytes: readonly number[], name = "input"): Buffer {
  return Buffer.concat([Buffer.from(`{"${name}":"a`), Buffer.from(bytes), Buffer.from('b"}')]);
}

function errorOf({ json }: Answer): string {
  return (json as { error: string }).error;
}

/** What a worker gets of the only job there is. */
async function message(api: Api): Promise<string> {
  const { text } = await asWorker(api, "/job-take/wk1");
  return text;
}

function asWorker(api: Api, path: string, body?: string | Buffer): Promise<Answer> {
  const headers = { authorization: "secret-of-wk1" };
  return api.ask(path, { headers, ...(body === undefined ? {} : { body }) });
}

/** A job that a worker has ended with this body; returns its document. */
async function endedWith(api: Api, body: string | Buffer): Promise<Record<string, unknown>> {
  const { id } = await api.ok("/run", { body: { input: {} } });
  await api.take();
  assert.equal((await asWorker(api, `/job-done/wk1/${String(id)}`, body)).status, 200);
  return await api.ok(`/status/${String(id)}`);
}

describe("a submission", () => {
  for (const [what, bytes] of NOT_UTF8) {
    test(`with ${what} is refused`, async (t) => {
      const api = await serveApi(t);
      for (const path of ["/run", "/runsync", "/openai/v1/models", "/redrive", "/batch"]) {
        const answer = await api.ask(path, { body: around(bytes) });
        assert.equal(answer.status, 400, path);
        assert.match(errorOf(answer), /not UTF-8/);
      }
      assert.equal((await api.jobs.counts("ep1")).inQueue, 0);
    });
  }

  test("may begin with a byte order mark, whatever its type says about it", async (t) => {
    const api = await serveApi(t);
    const body = Buffer.concat([BOM, Buffer.from('{"input":"ä\uFEFF"}')]);
    for (const type of ["application/json", "application/json; charset=utf-16", ";;"]) {
      await api.ok("/run", { body, headers: { "content-type": type } });
      assert.match(await message(api), /"input":"ä\uFEFF"\}$/);
    }
  });

  test("that is compressed is refused, and says so", async (t) => {
    const api = await serveApi(t);
    const headers = { "content-encoding": "gzip" };
    const answer = await api.ask("/run", { body: gzipSync('{"input":1}'), headers });
    assert.equal(answer.status, 415);
    assert.match(errorOf(answer), /'gzip'/);
    await api.ok("/run", { body: { input: 1 }, headers: { "content-encoding": "Identity" } });
  });

  test("keeps the last of equal names, and every character of what it passes on", async (t) => {
    const api = await serveApi(t);
    const input =
      '{"n":1.0,"n":1e400,"big":12345678901234567890,"half":"\\ud800","__proto__":{"x":-0}}';
    const s3Config = '{ "bucketName":"b",\n"n":1.0,"big":12345678901234567890}';
    const body = `{"input":1,"s3Config":${s3Config},"__proto__":{"webhook":5},"input":${input}}`;
    await api.ok("/run", { body });
    const text = await message(api);
    assert.ok(text.startsWith(`{"s3Config":${s3Config},"id":`), text);
    assert.ok(text.endsWith(`"input":${input}}`), text);
  });

  for (const [what, body] of [
    ["an input that is too deep", `{"input":${"[".repeat(DEEP)}${"]".repeat(DEEP)}}`],
    ["an s3Config that is too deep", `{"s3Config":${'{"a":'.repeat(DEEP)}1${"}".repeat(DEEP)}}`],
    ["an s3Config that is no object", '{"s3Config":"bucket"}'],
    ["an s3Config that is a list", '{"s3Config":[1]}'],
    ["a webhook that is no text", '{"webhook":5}'],
    ["a policy that is a list", '{"policy":[]}'],
    ["half a character as its key", '{"policy":{"key":"\\ud800"}}'],
    ["nothing at all", ""],
    ["no object", "null"],
    ["something behind it", '{"input":1}x'],
  ] as const) {
    test(`with ${what} is refused`, async (t) => {
      const api = await serveApi(t);
      assert.equal((await api.ask("/run", { body })).status, 400);
      assert.equal((await api.jobs.counts("ep1")).inQueue, 0);
    });
  }

  test("a number that is out of bounds is shown short, whatever it is", async (t) => {
    const api = await serveApi(t);
    const policy = { ttl: "9".repeat(100_000) };
    const answer = await api.ask("/run", { body: { input: 1, policy } });
    assert.equal(answer.status, 400);
    assert.match(errorOf(answer), /policy\.ttl must be .* got "999/);
    assert.ok(answer.text.length < 2000);
    const huge = await api.ask("/run", { body: '{"policy":{"ttl":1e400}}' });
    assert.match(errorOf(huge), /got Infinity/);
  });
});

describe("a worker's post", () => {
  for (const [what, bytes] of NOT_UTF8) {
    test(`with ${what} fails the job`, async (t) => {
      const api = await serveApi(t);
      const job = await endedWith(api, around(bytes, "output"));
      assert.equal(job["status"], "FAILED");
      assert.match(String(job["error"]), /cannot be read: it is not UTF-8/);
    });
  }

  test("may begin with a byte order mark", async (t) => {
    const api = await serveApi(t);
    const job = await endedWith(api, Buffer.concat([BOM, Buffer.from('{"output":1.0}')]));
    assert.deepEqual([job["status"], job["output"]], ["COMPLETED", 1]);
  });

  test("has an error however deep, as it was written", async (t) => {
    const api = await serveApi(t, { isCode: false });
    const error = `{"list":${"[".repeat(DEEP)}${"]".repeat(DEEP)},"n":1.0}`;
    const job = await endedWith(api, `{"error":${error}}`);
    assert.equal(job["status"], "FAILED");
    assert.ok(job["error"] === error, "the error is the same text");
  });

  test("has an error as long and deep as it likes, of which the beginning is kept", async (t) => {
    const api = await serveApi(t, { isCode: false });
    const long = "x".repeat(300_000);
    const error = `{"list":${"[".repeat(DEEP)}${"]".repeat(DEEP)},"long":"${long}"}`;
    const job = await endedWith(api, `{"error":${error}}`);
    assert.equal(job["status"], "FAILED");
    const kept = String(job["error"]);
    assert.ok(kept.startsWith(error.slice(0, 2 * DEEP)), "the beginning is the same text");
    assert.match(kept.slice(-60), /x… \(\d+ more characters were left out\)$/);
  });

  for (const none of ["null", '""', "false", "0"]) {
    test(`with the error ${none} has none`, async (t) => {
      const api = await serveApi(t);
      const job = await endedWith(api, `{"output":7,"error":${none}}`);
      assert.deepEqual([job["status"], job["output"]], ["COMPLETED", 7]);
    });
  }

  test("is no post with another method, and no job goes to who asks for a head", async (t) => {
    const api = await serveApi(t);
    const { id } = await api.ok("/run", { body: { input: {} } });
    const headers = { authorization: "secret-of-wk1" };
    for (const path of ["/job-take/wk1", "/job-take-batch/wk1?batch_size=2", "/ping/wk1"]) {
      const answer = await api.ask(path, { method: "HEAD", headers });
      assert.deepEqual([answer.status, answer.headers.allow], [405, "GET"], path);
    }
    await api.take();
    const got = await api.ask(`/job-done/wk1/${String(id)}`, { headers });
    assert.deepEqual([got.status, got.headers.allow], [405, "POST"]);
    assert.equal((await api.ok(`/status/${String(id)}`))["status"], "IN_PROGRESS");
  });
});
