import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { test } from "node:test";
import { openStore } from "../../src/server/store/store.ts";
import { temporaryFolder } from "../support/temp.ts";

const CHILD = join(import.meta.dirname, "kill-child.ts");

/** What was acknowledged to the outside, over all rounds. */
interface Ledger {
  accepted: Set<string>;
  /** Job → output that was acknowledged as its result. */
  completed: Map<string, string>;
}

interface Round {
  home: string;
  round: number;
  ledger: Ledger;
  /** Acknowledgements after which the process is killed. */
  steps: number;
  commitDelayMs?: number;
}

/** Runs the child until it has acknowledged `steps` things, then kills it without warning. */
async function runAndKill({ home, round, ledger, steps, commitDelayMs }: Round): Promise<void> {
  const failpoint = commitDelayMs === undefined ? [] : [String(commitDelayMs)];
  const child = spawn(process.execPath, [CHILD, home, String(round), ...failpoint], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  let rest = "";
  let seen = 0;
  for await (const part of child.stdout.setEncoding("utf8") as AsyncIterable<string>) {
    const lines = (rest + part).split("\n");
    rest = lines.pop() ?? "";
    for (const line of lines) record(ledger, line);
    seen += lines.length;
    if (seen >= steps) child.kill("SIGKILL");
  }
  await exited;
}

function record(ledger: Ledger, line: string): void {
  const [what, id = "", attempt = ""] = line.split(" ");
  if (what === "accepted") ledger.accepted.add(id);
  else {
    assert.ok(!ledger.completed.has(id), `${id} was completed twice`);
    ledger.completed.set(id, JSON.stringify(`${id} ${attempt}`));
  }
}

/** Acknowledged facts that the store does not know, after putting running jobs back as a start does. */
async function lostFacts(home: string, ledger: Ledger): Promise<string[]> {
  const store = openStore({ home });
  try {
    const lost: string[] = [];
    for (const id of ledger.accepted) {
      const job = await store.jobs.get(id);
      const result = ledger.completed.get(id);
      if (job === undefined) lost.push(`${id} is gone`);
      else if (result !== undefined && (job.state !== "COMPLETED" || job.output !== result)) {
        lost.push(`${id} is ${job.state} with ${job.output} instead of ${result}`);
      }
    }
    for (const { id, attempt } of await store.jobs.running()) {
      const outcome = { kind: "requeued", runAt: 1000, blameless: true } as const;
      await store.jobs.settle({ jobId: id, attempt, outcome, now: 3000, retentionMs: 1 });
    }
    const { completed, inQueue, inProgress } = await store.jobs.counts("ep1");
    const { total } = await store.jobs.list({ endpointId: "ep1", offset: 0, limit: 1 });
    if (completed + inQueue + inProgress !== total)
      lost.push("the counters disagree with the jobs");
    return lost;
  } finally {
    await store.close();
  }
}

test("twenty kills under load lose nothing that was acknowledged and complete nothing twice", async (t) => {
  const home = temporaryFolder(t);
  const ledger: Ledger = { accepted: new Set(), completed: new Map() };
  for (let round = 0; round < 20; round++) {
    await runAndKill({ home, round, ledger, steps: 1 + Math.floor(Math.random() * 200) });
    assert.deepEqual(await lostFacts(home, ledger), [], `after round ${round}`);
  }
  assert.ok(ledger.completed.size > 100, `only ${ledger.completed.size} jobs were completed`);
});

test("the same campaign notices a store that acknowledges before it commits", async (t) => {
  const home = temporaryFolder(t);
  const ledger: Ledger = { accepted: new Set(), completed: new Map() };
  await runAndKill({ home, round: 0, ledger, steps: 50, commitDelayMs: 60_000 });
  assert.notDeepEqual(await lostFacts(home, ledger), []);
});
