/** Deployments, removals and the like of an environment happen one after the other. */

export type TurnKind = "deploying" | "removing" | "secrets";

export class Turns {
  readonly #last = new Map<string, Promise<unknown>>();
  /** What each environment's turns are about, in order. */
  readonly #kinds = new Map<string, TurnKind[]>();

  /** What is being done with the environment now. */
  current(app: string, environment: string): TurnKind | undefined {
    return this.#kinds.get(`${app}/${environment}`)?.[0];
  }

  /** Runs when everything before it has ended, well or not. */
  async take<T>(
    { app, environment }: { app: string; environment: string },
    kind: TurnKind,
    run: () => Promise<T>,
  ): Promise<T> {
    // Names hold no `/`.
    const key = `${app}/${environment}`;
    const kinds = this.#kinds.get(key) ?? [];
    this.#kinds.set(key, kinds);
    kinds.push(kind);
    const turn = (this.#last.get(key) ?? Promise.resolve()).then(run, run);
    this.#last.set(key, turn);
    try {
      return await turn;
    } finally {
      kinds.shift();
      if (this.#last.get(key) === turn) {
        this.#last.delete(key);
        this.#kinds.delete(key);
      }
    }
  }
}
