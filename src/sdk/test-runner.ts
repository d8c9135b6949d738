/**
 * Whether this process runs tests. Only what the process itself holds counts: environment variables
 * are inherited, and a script that a test starts is not a test.
 */

interface Scope {
  process?: {
    moduleLoadList?: readonly string[];
    execArgv?: readonly string[];
    env?: Record<string, string | undefined>;
  };
  Bun?: { main?: string };
  __vitest_worker__?: unknown;
  __vitest_environment__?: unknown;
  expect?: unknown;
  describe?: unknown;
  it?: unknown;
}

export function isTestRunner(scope: Scope = globalThis): boolean {
  return isNodeTest(scope) || isVitest(scope) || isJest(scope) || isMocha(scope) || isBun(scope);
}

/** Node lists its internal modules as they load; this one loads with `node:test` and `--test` alone. */
function isNodeTest({ process }: Scope): boolean {
  return (
    process?.moduleLoadList?.includes("NativeModule internal/test_runner/harness") === true ||
    process?.execArgv?.includes("--test") === true
  );
}

function isVitest(scope: Scope): boolean {
  return scope.__vitest_worker__ !== undefined || scope.__vitest_environment__ !== undefined;
}

function isJest({ expect, process }: Scope): boolean {
  return typeof expect === "function" && process?.env?.["JEST_WORKER_ID"] !== undefined;
}

function isMocha({ describe, it }: Scope): boolean {
  return typeof describe === "function" && typeof it === "function";
}

/** `bun test` leaves no mark of its own, but runs only files named like this. */
function isBun({ Bun }: Scope): boolean {
  return /[._](test|spec)\.[cm]?[jt]sx?$/.test(Bun?.main ?? "");
}
