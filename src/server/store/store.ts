/**
 * The store room: {@link Store} over the SQLite that Node brings along. It owns `flash.db` and
 * nothing else: no timers, no opinions about retries.
 *
 *   database         opening: lock, durability, permissions
 *   damage           what is said when its files lack something; write-ahead-log: what SQLite says nothing of
 *   schema           tables, triggers, migrations
 *   commit           group commit; operation: one of a group
 *   room             on the disk, for new work; reserve: for the end of what was accepted
 *   flusher          who is told when; disk: the files that are flushed
 *   recent-jobs      jobs that the database does not know yet
 *   journal          the file that has their moves; journal-records: what it says; recovery: reading it
 *   lanes            endpoint, release, priority and whether jobs have keys, as one number
 *   job-statements   the statements about jobs, and reading a job
 *   job-store        the verbs of jobs; job-takes: who gets which; job-retention: dropping records
 *   job-moves        what follows every move; job-queries: questions about many; job-streams: chunks
 *   keyed-queue      whose turn it is among keys: lines and counters of keys
 *   webhook-store    webhooks that wait for delivery
 *   batch-store      batches, and how their requests follow their jobs
 *   worker-key-store keys of workers that somebody else starts
 *   key-store, secret-store, audit-store, and their identity-schema
 *   control-store    apps, builds, releases, environments, endpoints, settings
 *   release-steps    what a release runs from, and what is still needed
 *   rows             statements by their text
 */

import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import type { ControlStore, Durability, Store, StoreMeasures } from "../../contract/store.ts";
import type { Log } from "../../kit/log.ts";
import { SqliteAuditStore } from "./audit-store.ts";
import { SqliteBatchStore } from "./batch-store.ts";
import { Committer, type Failpoints } from "./commit.ts";
import { SqliteControlStore } from "./control-store.ts";
import { damagedError, isDamageError } from "./damage.ts";
import { DATABASE_FILE, openDatabase, type OpenDatabase } from "./database.ts";
import { SqliteJobStore } from "./job-store.ts";
import { SqliteKeyStore } from "./key-store.ts";
import { Lanes } from "./lanes.ts";
import { RecentJobs } from "./recent-jobs.ts";
import { recover } from "./recovery.ts";
import { SqliteSecretStore } from "./secret-store.ts";
import { SqliteWebhookStore } from "./webhook-store.ts";
import { SqliteWorkerKeyStore } from "./worker-key-store.ts";

export interface StoreOptions {
  /** FLASH_HOME: the folder of `flash.db`. Made when missing. Not used by `memory`. */
  home: string;
  /** Default `strict`. */
  durability?: Durability;
  /** Where it is said what the files lack. Default: nowhere. */
  log?: Log;
  /** For tests. */
  failpoints?: Failpoints;
}

/**
 * Opens the store of a FLASH_HOME, and keeps every other server out until {@link SqliteStore.close} or
 * the end of the process. Throws `CONFLICT` when another server has it, or a newer version wrote it, and
 * `INTERNAL` when the database cannot be read.
 */
export function openStore(options: StoreOptions): SqliteStore {
  try {
    return new SqliteStore(options);
  } catch (error) {
    throw isDamageError(error) ? damagedError(join(options.home, DATABASE_FILE), error) : error;
  }
}

export class SqliteStore implements Store {
  readonly durability: Durability;
  readonly jobs: SqliteJobStore;
  readonly webhooks: SqliteWebhookStore;
  readonly control: ControlStore;
  readonly workerKeys: SqliteWorkerKeyStore;
  readonly batches: SqliteBatchStore;
  readonly keys: SqliteKeyStore;
  readonly secrets: SqliteSecretStore;
  readonly audit: SqliteAuditStore;
  readonly #database: OpenDatabase;
  readonly #committer: Committer;
  #closing: Promise<void> | undefined;

  constructor({ home, durability = "strict", log, failpoints = {} }: StoreOptions) {
    this.durability = durability;
    this.#database = openDatabase(home, durability, log);
    const db: DatabaseSync = this.#database.db;
    const { journal, disk } = this.#database;
    const lanes = new Lanes(db);
    const recent = new RecentJobs({ db, lanes, journal });
    this.#committer = new Committer({
      db,
      disk,
      recent,
      space: this.#database.space,
      beforeCommit: () => lanes.writeMoves(),
      afterCommit: () => lanes.committed(),
      onRollback: () => lanes.forget(),
      failpoints,
    });
    const committer = this.#committer;
    if (journal !== undefined) {
      for (const job of recover({ db, lanes, journal })) recent.adopt(job);
      // Both generations have been read, and neither is needed once the database has their jobs.
      if (journal.isBegun) {
        journal.turnToNew();
        committer.settleAll();
      }
      disk?.log.flushNow();
    }
    this.batches = new SqliteBatchStore({ db, committer });
    this.jobs = new SqliteJobStore({ db, committer, lanes, recent, batches: this.batches });
    this.webhooks = new SqliteWebhookStore({ db, committer });
    this.control = new SqliteControlStore({ db, committer, jobs: this.jobs });
    this.keys = new SqliteKeyStore({ db, committer });
    this.secrets = new SqliteSecretStore({ db, committer });
    this.audit = new SqliteAuditStore({ db, committer });
    this.workerKeys = new SqliteWorkerKeyStore({ db, committer });
  }

  /** Transactions committed so far, operations in them, and operations not yet acknowledged. */
  get statistics(): Committer["statistics"] {
    return this.#committer.statistics;
  }

  get measures(): StoreMeasures {
    return this.#committer.measures;
  }

  close(): Promise<void> {
    this.#closing ??= this.#committer.close().then(() => this.#database.close());
    return this.#closing;
  }
}
