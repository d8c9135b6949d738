/** One operation on its way through a group: what it does, where that is, and who is to be told. */

/**
 * Told as soon as it is written; `journaled`: when that was to the journal. Should the machine fail now, it
 * will not matter to anybody. Undefined: told when the disk has it.
 */
export type Early = "written" | "journaled" | undefined;

export interface Operation {
  readonly run: () => unknown;
  readonly recent: (() => unknown) | undefined;
  readonly concernsRecent: (() => boolean) | undefined;
  readonly accepts: boolean;
  readonly early: Early;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  /** What it brought. */
  value: unknown;
  /** Where what it did is; nowhere until it has run. */
  place: "nowhere" | "memory" | "journal" | "database";
}

/** In place of the value of an operation that was undone. */
export class Undone {
  readonly error: unknown;

  constructor(error: unknown) {
    this.error = error;
  }
}

/** Those that have done nothing yet. */
export function refuse(operations: readonly Operation[], error: unknown): void {
  for (const operation of operations) {
    if (operation.place !== "nowhere") continue;
    operation.value = new Undone(error);
    operation.place = "database";
  }
}

/** It is told before the disk has what it did. */
export function isEarly({ early, place }: Operation): boolean {
  return early === "written" || (early === "journaled" && place === "journal");
}

export function tell({ value, resolve, reject }: Operation): void {
  if (value instanceof Undone) reject(value.error);
  else resolve(value);
}
