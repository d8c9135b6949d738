/**
 * Tells which source files changed, in batches.
 *
 * One watcher a folder: the recursive mode of `fs.watch` walks into `node_modules` on Linux, which
 * costs a watch for every folder in there.
 */

import { watch, type Dirent, type FSWatcher, type WatchEventType } from "node:fs";
import { readdir, stat } from "node:fs/promises";
import path from "node:path";
import { isEditorFile } from "../compiler/compiler.ts";
import { systemClock, type Clock } from "../kit/kit.ts";

export interface WatchOptions {
  root: string;
  /** Gets the absolute paths that changed since the last call. Never called twice at once. */
  onChange: (changed: readonly string[]) => Promise<void>;
  /** Told when a folder cannot be watched. */
  onProblem: (error: Error) => void;
  /** Editors write a file in several steps; changes this close together are one. Default 30 ms. */
  debounceMs?: number;
  clock?: Clock;
}

/** Folders that hold no source: packages, our own output, version control. */
const IGNORED = new Set(["node_modules", ".flash", ".git", ".hg", ".svn", "dist", "coverage"]);

export class SourceWatcher {
  readonly #options: WatchOptions;
  readonly #clock: Clock;
  readonly #folders = new Map<string, FSWatcher>();
  /** What was there when it was last looked at; without folders. */
  readonly #files = new Set<string>();
  readonly #pending = new Set<string>();
  /** Those of the pending ones that were made, removed or renamed: a folder of that name is another one. */
  readonly #replaced = new Set<string>();
  #cancelTimer: (() => void) | undefined;
  #running: Promise<void> = Promise.resolve();
  #isIncomplete = false;
  #isClosed = false;

  private constructor(options: WatchOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
  }

  /** Resolves when every folder is being watched. */
  static async open(options: WatchOptions): Promise<SourceWatcher> {
    const watcher = new SourceWatcher(options);
    await watcher.#add(options.root);
    return watcher;
  }

  /** Stops watching and waits for the last `onChange`. Idempotent. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#cancelTimer?.();
    for (const folder of this.#folders.values()) folder.close();
    this.#folders.clear();
    await this.#running;
  }

  async #add(folder: string): Promise<void> {
    if (this.#isClosed || this.#folders.has(folder)) return;
    try {
      const watcher = watch(folder, (event, name) => this.#see(folder, name, event));
      watcher.on("error", () => this.#drop(folder));
      this.#folders.set(folder, watcher);
    } catch (error) {
      this.#giveUp(error as Error);
      return;
    }
    for (const entry of await entriesOf(folder)) {
      const full = path.join(folder, entry.name);
      if (!entry.isDirectory()) this.#files.add(full);
      else if (!IGNORED.has(entry.name)) await this.#add(full);
    }
  }

  /** The system's limit of watches fails for every further folder, too: said once. */
  #giveUp(error: Error): void {
    if (this.#isIncomplete) return;
    this.#isIncomplete = true;
    this.#options.onProblem(error);
  }

  #see(folder: string, name: string | null, event: WatchEventType): void {
    if (name === null || IGNORED.has(name)) return;
    const file = path.join(folder, name);
    this.#pending.add(file);
    if (event === "rename") this.#replaced.add(file);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#isClosed) return;
    this.#cancelTimer?.();
    this.#cancelTimer = this.#clock.after(this.#options.debounceMs ?? 30, () => {
      this.#cancelTimer = undefined;
      this.#running = this.#running.then(() => this.#flush());
    });
  }

  async #flush(): Promise<void> {
    if (this.#isClosed || this.#pending.size === 0) return;
    const seen = [...this.#pending];
    this.#pending.clear();
    const before = new Set(seen.filter((file) => this.#files.has(file) || this.#folders.has(file)));
    // Before anything is looked at: a checkout may have put another folder in the place of one.
    for (const file of this.#replaced) this.#drop(file);
    this.#replaced.clear();
    const changed = (await Promise.all(seen.map((file) => this.#expand(file, before)))).flat();
    if (changed.length === 0) return;
    try {
      await this.#options.onChange([...new Set(changed)]);
    } catch (error) {
      this.#options.onProblem(error as Error);
    }
  }

  /**
   * A new folder stands for the files in it: they may have been there before the watch began. What came
   * and went since the last look is no change: programs that save write another file first.
   */
  async #expand(file: string, before: ReadonlySet<string>): Promise<string[]> {
    const found = await stat(file).catch(() => undefined);
    if (found?.isDirectory() === true) {
      if (this.#folders.has(file)) return [];
      await this.#add(file);
      return filesBelow(file);
    }
    if (isEditorFile(path.basename(file))) return [];
    this.#drop(file);
    if (found === undefined) return before.has(file) ? [file] : [];
    this.#files.add(file);
    return [file];
  }

  /** Lets go of what is gone, and of all that was below it. */
  #drop(folder: string): void {
    const isGone = (name: string): boolean => name === folder || name.startsWith(folder + path.sep);
    for (const [name, watcher] of this.#folders) {
      if (!isGone(name)) continue;
      watcher.close();
      this.#folders.delete(name);
    }
    for (const name of this.#files) if (isGone(name)) this.#files.delete(name);
  }
}

/** Entries of a folder; none when it is not one, or gone. */
async function entriesOf(folder: string): Promise<Dirent[]> {
  try {
    return await readdir(folder, { withFileTypes: true });
  } catch {
    return [];
  }
}

async function filesBelow(folder: string): Promise<string[]> {
  const files: string[] = [];
  for (const entry of await entriesOf(folder)) {
    const full = path.join(folder, entry.name);
    if (IGNORED.has(entry.name)) continue;
    if (entry.isDirectory()) files.push(...(await filesBelow(full)));
    else if (!isEditorFile(entry.name)) files.push(full);
  }
  return files;
}
