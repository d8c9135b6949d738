/** `npm start`: a running server with the examples on it, and lines that work when pasted. */

import assert from "node:assert/strict";
import { createServer } from "node:net";
import path from "node:path";
import { test, type TestContext } from "node:test";
import { Sandbox } from "../support/flash.ts";
import { Program, run } from "../support/program.ts";
import { ROOT } from "../support/temp.ts";
import { until } from "../support/until.ts";

async function start(t: TestContext, sandbox: Sandbox): Promise<Program> {
  const script = path.join(ROOT, "scripts", "start.ts");
  return Program.start(t, [process.execPath, script], { cwd: ROOT, env: sandbox.env });
}

/** The `curl …` lines of a text, with indentation removed. */
function curlLines(text: string): string[] {
  return text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line.startsWith("curl "));
}

test("every printed line works when pasted, and Ctrl-C stops everything", async (t) => {
  const sandbox = await Sandbox.open(t);
  const program = await start(t, sandbox);
  await program.says(/^Ready/m, 120_000);
  const lines = curlLines(program.stdout);
  for (const needed of ["/users", "-X POST", "-X PUT", "-X DELETE", "/ping", "/run'", "/runsync"]) {
    assert.ok(
      lines.some((line) => line.includes(needed)),
      `${needed} in:\n${lines.join("\n")}`,
    );
  }
  assert.ok(lines.some((line) => /\/status\/\S+/.test(line)));
  for (const line of lines) {
    const pasted = await run(["bash", "-c", `${line} --fail-with-body`], {
      cwd: ROOT,
      env: sandbox.env,
    });
    assert.equal(pasted.code, 0, `${line}\n${pasted.stdout}${pasted.stderr}`);
    assert.ok(pasted.stdout.length > 0, line);
  }

  const shown = await sandbox.flash(ROOT, "server", "status", "--json");
  assert.equal(shown.code, 0, shown.stderr);
  const { pid } = JSON.parse(shown.stdout) as { pid: number };

  const ended = await program.interrupt();
  assert.equal(ended.code, 0, program.output);
  assert.throws(() => process.kill(pid, 0), { code: "ESRCH" });
  await assert.rejects(fetch(`${sandbox.url}/livez`));
});

test("takes the next free port when something else has the wanted one", async (t) => {
  const sandbox = await Sandbox.open(t);
  const other = createServer();
  await new Promise<void>((resolve) => other.listen(sandbox.port, "127.0.0.1", resolve));
  t.after(() => other.close());
  const program = await start(t, sandbox);
  const [, used = ""] = await program.says(new RegExp(`port ${sandbox.port} in use, using (\\d+)`));
  await program.says(/^Ready/m, 120_000);
  assert.equal((await fetch(`http://127.0.0.1:${used}/livez`)).status, 200);
});

test("a second start on the same home says that one is running", async (t) => {
  const sandbox = await Sandbox.open(t);
  const first = await start(t, sandbox);
  await first.says(/^Ready/m, 120_000);
  const second = await start(t, sandbox);
  const ended = await second.finished;
  assert.notEqual(ended.code, 0);
  assert.match(ended.stderr, /already running/);
  await until(async () => (await fetch(`${sandbox.url}/livez`)).ok, { what: "the first server" });
});
