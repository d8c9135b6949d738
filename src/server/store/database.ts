/** Opens `flash.db`: the lock that keeps a second server out, durability settings, migrations. */

import {
  chmodSync,
  closeSync,
  fdatasync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
} from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { promisify } from "node:util";
import { FlashError } from "../../contract/errors.ts";
import type { Durability } from "../../contract/store.ts";
import type { Log } from "../../kit/log.ts";
import { reportDamage } from "./damage.ts";
import { Disk, type Flushable } from "./disk.ts";
import { Journal } from "./journal.ts";
import { Reserve, withReserve } from "./reserve.ts";
import type { DiskSpace } from "./room.ts";
import { migrate } from "./schema.ts";
import { findLogDamage } from "./write-ahead-log.ts";

const MIB = 1024 * 1024;
export const DATABASE_FILE = "flash.db";
const JOURNAL_FILE = "flash.journal";

/**
 * Half of SQLite's own: a commit writes every page that has changed, of the table and of each index,
 * and a group of jobs changes little of each. Counts when the file is made.
 */
const PAGE_BYTES = 2048;

export interface OpenDatabase {
  readonly db: DatabaseSync;
  /** Undefined in memory. */
  readonly journal: Journal | undefined;
  /** `strict` only: what acknowledgements wait for. */
  readonly disk: Disk | undefined;
  /** Undefined in memory. */
  readonly space: DiskSpace | undefined;
  close(): void;
}

/**
 * Throws `CONFLICT` when another server uses the folder or a newer version wrote it. `log`: where damage is
 * reported.
 */
export function openDatabase(home: string, durability: Durability, log?: Log): OpenDatabase {
  if (durability === "memory") {
    const db = new DatabaseSync(":memory:");
    configure(db, durability);
    migrate(db, ":memory:");
    return {
      db,
      journal: undefined,
      disk: undefined,
      space: undefined,
      close: () => db.close(),
    };
  }
  mkdirSync(home, { recursive: true, mode: 0o700 });
  const lock = lockHome(home);
  const space = new Reserve(home);
  try {
    reportLogDamage(home, log);
    const { db, journal } = withReserve(space, () => openFiles(home, durability));
    reportJournalDamage(home, journal, log);
    const ahead = durability === "strict" ? openLog(home) : undefined;
    return {
      db,
      journal,
      disk: ahead && new Disk({ journal, log: ahead }),
      space,
      close: () => {
        ahead?.close();
        journal.close();
        db.close();
        lock.close();
      },
    };
  } catch (error) {
    lock.close();
    throw error;
  }
}

/** Before SQLite looks at it, which begins it anew. */
function reportLogDamage(home: string, log: Log | undefined): void {
  const file = logOf(home);
  const reason = findLogDamage(file);
  if (reason !== undefined) reportDamage({ file, reason }, log);
}

function reportJournalDamage(home: string, journal: Journal, log: Log | undefined): void {
  const reason = journal.findDamage();
  if (reason !== undefined) reportDamage({ file: join(home, JOURNAL_FILE), reason }, log);
}

function openFiles(home: string, durability: Durability): { db: DatabaseSync; journal: Journal } {
  const file = join(home, DATABASE_FILE);
  const db = new DatabaseSync(file, { timeout: 5000 });
  try {
    // Inputs, outputs and keys of the user's: nobody else's business. WAL and index take the same mode.
    chmodSync(file, 0o600);
    configure(db, durability);
    migrate(db, file);
    const journal = new Journal(join(home, JOURNAL_FILE), lackingGeneration(db));
    return { db, journal };
  } catch (error) {
    db.close();
    throw error;
  }
}

/**
 * `synchronous = NORMAL` keeps the database whole through a power failure, but flushes its write-ahead
 * log only now and then. `FULL` would flush it in every COMMIT, on the thread that serves requests;
 * instead `strict` does the same flush itself before it acknowledges: on another thread, unless the
 * disk is quick.
 */
function configure(db: DatabaseSync, durability: Durability): void {
  db.exec(`
    PRAGMA page_size = ${PAGE_BYTES};
    PRAGMA journal_mode = WAL;
    PRAGMA synchronous = ${durability === "memory" ? "OFF" : "NORMAL"};
    PRAGMA temp_store = MEMORY;
    PRAGMA cache_size = -16384;
    PRAGMA wal_autocheckpoint = ${(16 * MIB) / PAGE_BYTES};
    PRAGMA journal_size_limit = ${64 * MIB};
  `);
}

/**
 * Holds an exclusive lock of the operating system on a file of its own, so that `flash.db` stays
 * readable for others. The lock ends with the process, whatever ends the process.
 */
function lockHome(home: string): DatabaseSync {
  const lock = new DatabaseSync(join(home, "flash.lock"), { timeout: 0 });
  try {
    lock.exec("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
    return lock;
  } catch (cause) {
    lock.close();
    throw new FlashError("CONFLICT", `Another Flash server is using ${home}.`, {
      hint: "Stop it with 'flash server stop', or set FLASH_HOME to another folder.",
      cause,
    });
  }
}

/**
 * The write-ahead log, opened a second time: a flush concerns the file, whoever has written it. It is
 * the same file until the database is closed.
 */
function openLog(home: string): Flushable & { close: () => void } {
  const fd = openSync(logOf(home), "r+");
  // The log may be a new file, and so may the journal: their names have to survive as well.
  const folder = openSync(home, "r");
  fsyncSync(folder);
  closeSync(folder);
  const flush = promisify(fdatasync);
  return {
    flush: () => flush(fd),
    flushNow: () => fdatasyncSync(fd),
    close: () => closeSync(fd),
  };
}

function logOf(home: string): string {
  return join(home, `${DATABASE_FILE}-wal`);
}

function lackingGeneration(db: DatabaseSync): number {
  return Number(db.prepare("SELECT generation FROM journal").get()?.["generation"]);
}
