/**
 * Guests: workers that somebody else has started, such as containers of an image on another machine.
 * They call in with a worker key; the pool can neither start nor end them.
 *
 *   1  A guest is there while it speaks. One that is silent for {@link SILENT_MS} is gone, and its jobs
 *      go back to the queue.
 *   2  A guest that drains gets no more jobs until it has been silent: that is when it was restarted.
 */

import type { WorkerState } from "../../contract/states.ts";
import { afterListening, type Clock } from "../../kit/clock.ts";

/** A worker pings every second, in a process of its own. */
const SILENT_MS = 5000;
/** One that drains polls without a pause, so that it is missed earlier: it may be back within seconds. */
const DRAINED_SILENT_MS = 1500;

interface Guest {
  readonly id: string;
  /** Requests that are not answered yet: a held poll is a sign of life. */
  open: number;
  seenAt: number;
  load: number;
  isDraining: boolean;
  readonly whenGone: (() => void)[];
  cancelLook: () => void;
}

export interface GuestsOptions {
  clock: Clock;
  onArrived(workerId: string): void;
  onGone(workerId: string): void;
  /** It gets no more jobs, and its open polls end. */
  onDraining(workerId: string): void;
}

export class Guests {
  readonly #options: GuestsOptions;
  readonly #guests = new Map<string, Guest>();
  #isClosed = false;

  constructor(options: GuestsOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#guests.size;
  }

  has(workerId: string): boolean {
    return this.#guests.has(workerId);
  }

  ready(): string[] {
    return [...this.#guests.values()].filter(({ isDraining }) => !isDraining).map(({ id }) => id);
  }

  /** A request of the guest has come; call the returned function when it is over. */
  enter(workerId: string): () => void {
    if (this.#isClosed) return () => undefined;
    const guest = this.expect(workerId);
    guest.open += 1;
    return () => {
      guest.open -= 1;
      guest.seenAt = this.#now();
    };
  }

  /** The guest is, or should be, there: it has {@link SILENT_MS} to say so. */
  expect(workerId: string): Guest {
    const known = this.#guests.get(workerId);
    if (known !== undefined) {
      known.seenAt = this.#now();
      return known;
    }
    const guest: Guest = {
      id: workerId,
      open: 0,
      seenAt: this.#now(),
      load: 0,
      isDraining: false,
      whenGone: [],
      cancelLook: () => undefined,
    };
    this.#guests.set(workerId, guest);
    this.#lookIn(guest, SILENT_MS);
    this.#options.onArrived(workerId);
    return guest;
  }

  /** No more jobs for it. `whenGone` runs once it is silent, at once when it is not there. */
  drain(workerId: string, whenGone: () => void = () => undefined): void {
    const guest = this.#guests.get(workerId);
    if (guest === undefined) return whenGone();
    guest.whenGone.push(whenGone);
    if (guest.isDraining) return;
    guest.isDraining = true;
    this.#options.onDraining(workerId);
    this.#lookIn(guest, DRAINED_SILENT_MS);
  }

  /** How many jobs each one holds, as the store says. */
  noteJobs(jobs: ReadonlyMap<string, number>): void {
    for (const guest of this.#guests.values()) guest.load = jobs.get(guest.id) ?? 0;
  }

  addTo(counts: Record<WorkerState, number>): void {
    for (const guest of this.#guests.values()) counts[stateOf(guest)] += 1;
  }

  /** Ends their polls; their jobs stay theirs. */
  close(): void {
    this.#isClosed = true;
    for (const guest of this.#guests.values()) {
      guest.cancelLook();
      this.#options.onDraining(guest.id);
    }
    this.#guests.clear();
  }

  #lookIn(guest: Guest, waitMs: number): void {
    guest.cancelLook();
    guest.cancelLook = afterListening(this.#options.clock, waitMs, () => this.#look(guest));
  }

  #look(guest: Guest): void {
    const patienceMs = guest.isDraining ? DRAINED_SILENT_MS : SILENT_MS;
    const silentMs = guest.open > 0 ? 0 : this.#now() - guest.seenAt;
    if (silentMs < patienceMs) return this.#lookIn(guest, patienceMs - silentMs);
    this.#guests.delete(guest.id);
    this.#options.onGone(guest.id);
    for (const run of guest.whenGone) run();
  }

  #now(): number {
    return this.#options.clock.elapsed();
  }
}

function stateOf({ isDraining, load }: Guest): WorkerState {
  if (isDraining) return "DRAINING";
  return load > 0 ? "RUNNING" : "IDLE";
}
