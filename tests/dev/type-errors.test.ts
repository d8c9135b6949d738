/** When type errors are told. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { Diagnostic } from "../../src/compiler/compiler.ts";
import { TypeErrors, type TypeNews } from "../../src/dev/type-errors.ts";

interface Told {
  /** Looks, and answers what was told about it. */
  look: (found: readonly Diagnostic[] | undefined) => Promise<TypeNews | undefined>;
}

function teller(): Told {
  let found: readonly Diagnostic[] | undefined;
  let told: TypeNews | undefined;
  let ended = Promise.withResolvers<void>();
  const errors = new TypeErrors({
    find: async () => {
      setImmediate(() => ended.resolve());
      return found;
    },
    onNews: (news) => (told = news),
    onProblem: (error) => assert.fail(error),
  });
  return {
    look: async (next) => {
      [found, told, ended] = [next, undefined, Promise.withResolvers<void>()];
      errors.look();
      await ended.promise;
      return told;
    },
  };
}

function error(file: string, line: number, message = "no"): Diagnostic {
  return { severity: "error", file, line, column: 1, message };
}

test("an error is told once, wherever its lines move, and its end is told", async () => {
  const { look } = teller();
  assert.equal(await look([]), undefined);
  assert.deepEqual(await look([error("a.ts", 1)]), { fresh: [error("a.ts", 1)], left: 1 });
  assert.equal(await look([error("a.ts", 5)]), undefined);
  assert.deepEqual(await look([error("a.ts", 5), error("a.ts", 9)]), {
    fresh: [error("a.ts", 9)],
    left: 2,
  });
  assert.deepEqual(await look([error("a.ts", 9)]), { fresh: [], left: 1 });
  assert.deepEqual(await look([]), { fresh: [], left: 0 });
  assert.deepEqual(await look([error("a.ts", 9)]), { fresh: [error("a.ts", 9)], left: 1 });
});

test("an error in another file, or another error, is another one", async () => {
  const { look } = teller();
  await look([error("a.ts", 1)]);
  assert.deepEqual(await look([error("b.ts", 1)]), { fresh: [error("b.ts", 1)], left: 1 });
  const other = error("b.ts", 1, "never");
  assert.deepEqual(await look([other]), { fresh: [other], left: 1 });
});

test("what is not known changes nothing", async () => {
  const { look } = teller();
  await look([error("a.ts", 1)]);
  assert.equal(await look(undefined), undefined);
  assert.equal(await look([error("a.ts", 1)]), undefined);
});

test("a check that a newer one replaces says nothing, and stop() waits for the last", async () => {
  const told: TypeNews[] = [];
  const answers: ((found: readonly Diagnostic[]) => void)[] = [];
  const signals: AbortSignal[] = [];
  const errors = new TypeErrors({
    find: (signal) => {
      signals.push(signal);
      return new Promise((resolve) => answers.push(resolve));
    },
    onNews: (news) => told.push(news),
    onProblem: (problem) => assert.fail(problem),
  });
  errors.look();
  errors.look();
  assert.deepEqual(
    signals.map(({ aborted }) => aborted),
    [true, false],
  );
  answers[1]?.([error("new.ts", 1)]);
  answers[0]?.([error("old.ts", 1)]);
  await errors.stop();
  assert.deepEqual(told, []);
  assert.deepEqual(
    signals.map(({ aborted }) => aborted),
    [true, true],
  );
});

test("a compiler that cannot be started is told as a problem", async () => {
  const problems: string[] = [];
  const errors = new TypeErrors({
    find: () => Promise.reject(new Error("gone")),
    onNews: () => assert.fail("nothing was found"),
    onProblem: ({ message }) => problems.push(message),
  });
  errors.look();
  await errors.stop();
  assert.deepEqual(problems, ["gone"]);
});
