/** The two files that acknowledgements depend on, and which of them has something that is not on the disk. */

/** A file whose content can be forced to the disk. */
export interface Flushable {
  flush(): Promise<void>;
  /** The same, while the event loop waits. */
  flushNow(): void;
}

/** A file with marks: how much was written to it, and how much of that is on the disk. */
class MarkedFile {
  readonly #file: Flushable;
  #written = 0;
  #flushed = 0;

  constructor(file: Flushable) {
    this.#file = file;
  }

  get isDirty(): boolean {
    return !this.isFlushed(this.#written);
  }

  /** What has been written until now, for {@link isFlushed}. */
  get mark(): number {
    return this.#written;
  }

  isFlushed(mark: number): boolean {
    return this.#flushed >= mark;
  }

  wrote(): void {
    this.#written += 1;
  }

  async flush(): Promise<void> {
    if (!this.isDirty) return;
    const mark = this.#written;
    await this.#file.flush();
    this.#flushed = Math.max(this.#flushed, mark);
  }

  flushNow(): void {
    if (!this.isDirty) return;
    const mark = this.#written;
    this.#file.flushNow();
    this.#flushed = Math.max(this.#flushed, mark);
  }
}

export class Disk {
  readonly journal: MarkedFile;
  /** The database's write-ahead log. */
  readonly log: MarkedFile;

  constructor(files: { journal: Flushable; log: Flushable }) {
    this.journal = new MarkedFile(files.journal);
    this.log = new MarkedFile(files.log);
  }

  get isDirty(): boolean {
    return this.journal.isDirty || this.log.isDirty;
  }

  /** Grows with every write. */
  get mark(): number {
    return this.journal.mark + this.log.mark;
  }

  /** `withLog`: the log, too. */
  async flush(withLog: boolean): Promise<void> {
    if (withLog) await Promise.all([this.journal.flush(), this.log.flush()]);
    else await this.journal.flush();
  }

  flushNow(withLog: boolean): void {
    this.journal.flushNow();
    if (withLog) this.log.flushNow();
  }
}
