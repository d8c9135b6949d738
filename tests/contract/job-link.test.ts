import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import {
  LineReader,
  MAX_FRAME_CHARACTERS,
  ackFrame,
  drainFrame,
  drainedFrame,
  helloFrame,
  jobFrame,
  postFrame,
  readServerFrame,
  readWorkerFrame,
  slotsFrame,
  stopFrame,
  type PostKind,
} from "../../src/contract/job-link.ts";

describe("frames", () => {
  test("every value arrives as it was written, one line a frame", () => {
    const kinds = fc.constantFrom<PostKind>("done", "progress", "chunk");
    const spaces = fc.constantFrom(0, 2);
    fc.assert(
      fc.property(kinds, fc.json(), spaces, fc.nat(), (post, json, indent, attempt) => {
        const text = JSON.stringify(JSON.parse(json), undefined, indent);
        const line = postFrame({ post, jobId: "sync-1-u1", attempt, text });
        assert.equal(line.indexOf("\n"), line.length - 1);
        const frame = readWorkerFrame(line.trimEnd());
        assert.deepEqual(frame, {
          kind: "post",
          post,
          jobId: "sync-1-u1",
          attempt,
          text: text.replaceAll("\n", " "),
          value: JSON.parse(json) as unknown,
        });
      }),
    );
  });

  test("numbers keep their digits", () => {
    const text = '{"big":12345678901234567890,"float":1.0}';
    const frame = readWorkerFrame(postFrame({ post: "done", jobId: "j", attempt: 1, text }).trim());
    assert.equal(frame?.kind === "post" && frame.text, text);
  });

  test("the others say what they mean", () => {
    const read = (line: string): unknown => readWorkerFrame(line.trimEnd());
    assert.deepEqual(read(helloFrame(["a", "b"], 3)), {
      kind: "hello",
      held: ["a", "b"],
      slots: 3,
    });
    assert.deepEqual(read(slotsFrame(2)), { kind: "slots", slots: 2 });
    assert.deepEqual(read(drainFrame()), { kind: "drain" });
    const heard = (line: string): unknown => readServerFrame(line.trimEnd());
    assert.deepEqual(heard(ackFrame("a")), { kind: "ack", jobId: "a" });
    assert.deepEqual(heard(stopFrame(["a", "b"])), { kind: "stop", jobIds: ["a", "b"] });
    assert.deepEqual(heard(drainedFrame()), { kind: "drained" });
    assert.deepEqual(heard(jobFrame('{"id":"a",\n"input":null}')), {
      kind: "job",
      message: { id: "a", input: null },
    });
  });

  for (const line of [
    "",
    "{}",
    "[]",
    "null",
    "not json",
    '{"slots":-1}',
    '{"slots":1.5}',
    '{"slots":1e9}',
    '{"hello":"a","slots":1}',
    '{"hello":[1],"slots":1}',
    '{"hello":[]}',
    '{"done":"a","attempt":1,"output":}',
    '{"done":"a","attempt":1,"output":1',
    '{"done":"a","attempt":1,"output":1,"output":2}',
    '{"done":"a","attempt":1,"output":1}}',
    '{"done":"a","attempt":-1,"output":1}',
    '{"done":"a b","attempt":1,"output":1}',
    '{"done":"a","attempt":1,"body":{}}',
    '{"failed":"a","attempt":1,"body":1}',
    '{"failed":"a","attempt":1,"output":{}}',
    '{ "done":"a","attempt":1,"output":1}',
  ]) {
    test(`no frame of a worker: ${line}`, () => assert.equal(readWorkerFrame(line), undefined));
  }

  test("a greeting names at most as many jobs as a worker can hold", () => {
    const read = (count: number) => readWorkerFrame(helloFrame(Array(count).fill("a"), 1).trim());
    assert.equal(read(100_000)?.kind, "hello");
    assert.equal(read(100_001), undefined);
  });

  for (const line of ["", "{}", "1", '{"job":{"id":"a"}}', '{"job":{"id":1,"input":1}}', "[1]"]) {
    test(`no frame of a server: ${line}`, () => assert.equal(readServerFrame(line), undefined));
  }
});

describe("lines", () => {
  test("are found however the text is cut", () => {
    const texts = fc.array(fc.string().filter((text) => !text.includes("\n")));
    fc.assert(
      fc.property(texts, fc.array(fc.nat(40)), (lines, cuts) => {
        const reader = new LineReader();
        const found: string[] = [];
        let rest = lines.map((line) => `${line}\n`).join("");
        for (const cut of cuts) {
          found.push(...reader.read(rest.slice(0, cut)));
          rest = rest.slice(cut);
        }
        found.push(...reader.read(rest));
        assert.deepEqual(found, lines);
      }),
    );
  });

  test("one without an end is refused before it fills the memory", () => {
    const reader = new LineReader();
    const piece = "x".repeat(1024 * 1024);
    for (let length = piece.length; length <= MAX_FRAME_CHARACTERS; length += piece.length) {
      reader.read(piece);
    }
    assert.throws(() => reader.read(piece), RangeError);
  });
});
