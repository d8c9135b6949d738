/**
 * Child processes that functions have started. A worker runs many calls at once, so a child belongs to
 * the call whose code started it, and ends with it when the call is aborted: because somebody cancelled
 * it, its time is over, its attempt was given up, or its client left. Node tells of every new child,
 * whatever started it (`spawn`, `exec`, `fork`, a package's own helper), in the context of the code that
 * did: no module is patched, none loaded, and a call that starts none costs nothing.
 *
 *   C1  no child of another call is touched, nor one that its code has ever left to itself by `unref()`:
 *       so do packages with a helper that all calls share, although they `ref()` it while it works;
 *   C2  what a child has started ends with it: on Linux its descendants, elsewhere the group it leads;
 *   C3  a call that comes to its end by itself leaves its children alone;
 *   C4  no process is signalled that could be another one under an id used again.
 */

import type { ChildProcess } from "node:child_process";
import { subscribe } from "node:diagnostics_channel";
import { readFileSync, readdirSync } from "node:fs";
import type { Clock } from "../kit/clock.ts";

/**
 * From SIGTERM to SIGKILL, ms. Shorter than what a stopped function has until its worker ends: one that
 * waits for a child that pays no attention gets there in time.
 */
const CHILD_GRACE_MS = 3000;
/** Children of a call that have ended are forgotten when there are this many. */
const FORGET_AT = 32;

/** Who starts children. */
export interface Parent {
  started(child: ChildProcess): void;
}

/** From now on the running code's parent hears of every child process. Once for a process. */
export function watchChildren(parent: () => Parent | undefined): void {
  subscribe("child_process", (message) => {
    parent()?.started((message as { process: ChildProcess }).process);
  });
}

/** The children of one call. */
export class Children {
  readonly #clock: Clock;
  #children: Child[] = [];
  #forgetAt = FORGET_AT;
  #isStopped = false;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** It has no process yet: it is about to be started. */
  add(process: ChildProcess): void {
    const child = observe(process);
    if (this.#isStopped) {
      // To clean up, which it gets some time for; and so that a function that goes on gets nowhere.
      this.#clock.after(CHILD_GRACE_MS, () => {
        if (isOurs(child)) kill(familyOf(child));
      });
      return;
    }
    this.#children.push(child);
    if (this.#children.length < this.#forgetAt) return;
    // They have ended or were never there.
    this.#children = this.#children.filter((one) => one === child || isRunning(one.process));
    this.#forgetAt = Math.max(FORGET_AT, 2 * this.#children.length);
  }

  /**
   * Looks who there is, before anybody is told; what is returned stops them. In two steps, because
   * a child that the function itself stops at its signal may have left its own children by then.
   */
  stop(): () => void {
    this.#isStopped = true;
    const families = this.#children.filter(isOurs).map(familyOf);
    this.#children = [];
    return () => {
      if (families.length === 0) return;
      for (const family of families) terminate(family);
      this.#clock.after(CHILD_GRACE_MS, () => families.forEach(kill));
    };
  }
}

interface Child {
  process: ChildProcess;
  /** Somebody has called `unref()`: it means to outlive the call. */
  isLetGo: boolean;
}

/** A child and, where they can be found, the processes below it. */
interface Family {
  child: ChildProcess;
  /** The function had sent it a signal before. */
  wasSignalled: boolean;
  members: Member[];
}

/** A process, which may have ended since. */
interface Member {
  pid: number;
  /** Its process group, where that can be known. */
  group: number | undefined;
  /** Tells it from a later process of that id, where that can be known. */
  startedAt: string | undefined;
}

function isRunning({ pid, exitCode, signalCode }: ChildProcess): boolean {
  return pid !== undefined && exitCode === null && signalCode === null;
}

/** Node does not tell whether `unref()` was ever called, so this child does. */
function observe(process: ChildProcess): Child {
  const child: Child = { process, isLetGo: false };
  const unref = process.unref.bind(process);
  process.unref = (): void => {
    child.isLetGo = true;
    unref();
  };
  return child;
}

function isOurs({ process, isLetGo }: Child): boolean {
  return !isLetGo && isRunning(process); // C1
}

function familyOf({ process: child }: Child): Family {
  // Not reaped yet, so its id is its own.
  return { child, wasSignalled: child.killed, members: treeOf(child.pid as number) };
}

/** Tells everybody to end, the oldest first; not a second time whom the function has just told. */
function terminate({ child, wasSignalled, members }: Family): void {
  const told = child.killed && !wasSignalled ? child.pid : undefined;
  for (const target of targetsOf(members.filter(({ pid }) => pid !== told))) {
    signal(target, "SIGTERM");
  }
}

/** Ends who is still there, and what they have started since. */
function kill({ child, members }: Family): void {
  const survivors = members.filter((one) => isThere(one, child)); // C4
  const found = new Map<number, Member>();
  for (const { pid } of survivors) for (const one of treeOf(pid)) found.set(one.pid, one);
  for (const target of targetsOf([...found.values()])) signal(target, "SIGKILL");
}

function isThere({ pid, startedAt }: Member, child: ChildProcess): boolean {
  if (pid === child.pid && isRunning(child)) return true;
  return startedAt !== undefined && factsOf(pid).startedAt === startedAt;
}

/** Groups that one of them leads, as negative ids, and whoever is in none: nobody is signalled twice. */
function targetsOf(members: readonly Member[]): number[] {
  const led = new Set(members.filter(({ pid, group }) => pid === group).map(({ pid }) => pid));
  return members.flatMap(({ pid, group }) => {
    if (led.has(pid)) return [-pid];
    return group !== undefined && led.has(group) ? [] : [pid];
  });
}

function signal(target: number, name: NodeJS.Signals): void {
  // Where these come from a file: 0 would be our own group, and -1 everybody.
  if (Math.abs(target) <= 1) return;
  try {
    process.kill(target, name);
  } catch {
    // It has ended in the meantime, or is somebody else's by now, as `sudo` makes it.
  }
}

// Who there is.

/**
 * The process and those below it, parents first. At once and not piece by piece: a parent that ends in
 * between would take the trace of its children with it.
 */
function treeOf(root: number): Member[] {
  const members = new Map<number, Member>();
  const waiting = [root];
  for (let pid = waiting.shift(); pid !== undefined; pid = waiting.shift()) {
    if (members.has(pid)) continue;
    members.set(pid, { pid, ...factsOf(pid) });
    waiting.push(...childrenOf(pid));
  }
  return [...members.values()];
}

function factsOf(pid: number): Omit<Member, "pid"> {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    // `pid (name) state ppid pgrp …`: the name may hold anything, a parenthesis included.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    const hasEnded = fields[0] === "Z";
    return { group: Number(fields[2]), startedAt: hasEnded ? undefined : fields[19] };
  } catch {
    return { group: leadsGroup(pid) ? pid : undefined, startedAt: undefined };
  }
}

function leadsGroup(pid: number): boolean {
  try {
    return process.kill(-pid, 0);
  } catch {
    return false;
  }
}

/** Nobody where the system does not say. */
function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) => {
      const text = readFileSync(`/proc/${pid}/task/${thread}/children`, "latin1").trim();
      return text === "" ? [] : text.split(" ").map(Number);
    });
  } catch {
    return [];
  }
}
