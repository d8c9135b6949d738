import assert from "node:assert/strict";
import { describe, test } from "node:test";
import * as fc from "fast-check";
import {
  FRAME,
  FRAME_HEADER_BYTES,
  FrameReader,
  Inflow,
  MAX_HEAD_BYTES,
  Outflow,
  WINDOW_BYTES,
  headParts,
  headText,
  nextStream,
  writeFrameHeader,
  type Frame,
} from "../../src/contract/lb-link.ts";

function bytesOf(frame: Frame): Buffer {
  const bytes = Buffer.alloc(FRAME_HEADER_BYTES + frame.payload.length);
  writeFrameHeader(bytes, 0, { ...frame, length: frame.payload.length });
  frame.payload.copy(bytes, FRAME_HEADER_BYTES);
  return bytes;
}

const payload = fc.uint8Array({ maxLength: 300 }).map((bytes) => Buffer.from(bytes));
const frame: fc.Arbitrary<Frame> = fc
  .tuple(fc.integer({ min: 0, max: 0xffff_ffff }), payload, fc.boolean())
  .chain(([stream, some, isLast]) =>
    fc.constantFrom<Frame>(
      { type: FRAME.head, stream, payload: some, isLast },
      { type: FRAME.body, stream, payload: some, isLast },
      { type: FRAME.reset, stream, payload: Buffer.alloc(0), isLast },
      { type: FRAME.window, stream, payload: Buffer.from([1, 2, 3, 4]), isLast },
      { type: FRAME.drain, stream, payload: Buffer.alloc(0), isLast },
    ),
  );

describe("frames of the request link", () => {
  test("frames arrive as they were written, however the connection cuts them", () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 20 }), fc.array(fc.nat(40)), (frames, cuts) => {
        let rest = Buffer.concat(frames.map(bytesOf));
        const reader = new FrameReader();
        const seen: Frame[] = [];
        const take = (one: Frame): void => {
          seen.push({ ...one, payload: Buffer.from(one.payload) });
        };
        for (const cut of cuts) {
          reader.read(rest.subarray(0, cut), take);
          rest = rest.subarray(cut);
        }
        reader.read(rest, take);
        assert.deepEqual(seen, frames);
      }),
    );
  });

  test("one byte at a time is enough", () => {
    const whole: Frame = {
      type: FRAME.body,
      stream: 7,
      payload: Buffer.alloc(1000, 7),
      isLast: true,
    };
    const reader = new FrameReader();
    const seen: Frame[] = [];
    for (const byte of bytesOf(whole)) reader.read(Buffer.from([byte]), (one) => seen.push(one));
    assert.deepEqual(seen, [whole]);
  });

  test("what is no frame is refused by its header, before its payload has come", () => {
    const wrong: [number, number][] = [
      [0, 0],
      [6, 0],
      [FRAME.body, WINDOW_BYTES + 1],
      [FRAME.head, MAX_HEAD_BYTES + 1],
      [FRAME.window, 3],
      [FRAME.reset, 1],
      [FRAME.drain, 1],
      [FRAME.body, 0xffff_ffff],
    ];
    for (const [type, length] of wrong) {
      const header = Buffer.alloc(FRAME_HEADER_BYTES);
      header.writeUInt32BE(length);
      header[8] = type;
      assert.throws(() => new FrameReader().read(header, () => undefined), RangeError);
    }
  });

  test("random bytes are refused or are frames, and never more than was sent", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
        let total = 0;
        try {
          new FrameReader().read(Buffer.from(bytes), (one) => {
            total += FRAME_HEADER_BYTES + one.payload.length;
          });
        } catch (error) {
          assert.ok(error instanceof RangeError);
        }
        assert.ok(total <= bytes.length);
      }),
    );
  });

  test("heads keep empty parts and every byte of Latin-1", () => {
    const all = Array.from({ length: 255 }, (_, code) => String.fromCharCode(code + 1)).join("");
    const parts = ["GET", "/", "X-All", all, "X-Empty", ""];
    assert.deepEqual(headParts(Buffer.from(headText(parts), "latin1")), parts);
  });

  test("numbers of streams come round", () => {
    assert.equal(nextStream(1), 2);
    assert.equal(nextStream(0xffff_ffff), 1);
  });
});

describe("flow of one stream", () => {
  test("no more is under way than was granted, everything arrives in order, and the last piece says so", () => {
    const sizes = fc.array(fc.integer({ min: 0, max: WINDOW_BYTES * 2 }), { maxLength: 8 });
    fc.assert(
      fc.property(
        sizes,
        fc.infiniteStream(fc.integer({ min: 1, max: 90_000 })),
        (writes, reads) => {
          const sent: { length: number; isLast: boolean }[] = [];
          const onWay: number[] = [];
          const out = new Outflow((bytes, isLast) => {
            sent.push({ length: bytes.length, isLast });
            onWay.push(bytes.length);
            assert.ok(inflow.came(bytes.length), "more than was granted");
          });
          const inflow: Inflow = new Inflow((bytes) => out.grant(bytes));
          for (const size of writes) out.write(Buffer.alloc(size));
          out.end();
          for (let next = onWay.shift(); next !== undefined; next = onWay.shift()) {
            for (let left = next; left > 0;) {
              const used = Math.min(left, reads.next().value);
              inflow.used(used);
              left -= used;
            }
          }
          const total = writes.reduce((sum, size) => sum + size, 0);
          assert.equal(
            sent.reduce((sum, { length }) => sum + length, 0),
            total,
          );
          assert.deepEqual(
            sent.flatMap(({ isLast }, index) => (isLast ? [index] : [])),
            [sent.length - 1],
          );
        },
      ),
      { numRuns: 50 },
    );
  });

  test("a sender that may send again is told, once", () => {
    let drained = 0;
    const out = new Outflow(() => undefined);
    out.onDrain(() => (drained += 1));
    assert.equal(out.write(Buffer.alloc(WINDOW_BYTES)), true);
    assert.equal(out.write(Buffer.alloc(10)), false);
    out.grant(5);
    assert.equal(drained, 0);
    out.grant(5);
    out.grant(5);
    assert.equal(drained, 1);
  });

  test("more than was granted is noticed", () => {
    const inflow = new Inflow(() => undefined);
    assert.equal(inflow.came(WINDOW_BYTES), true);
    assert.equal(inflow.came(1), false);
  });
});
