/** Counts of values by size. Plain numbers: observing allocates nothing. */

export class Histogram {
  /** Upper ends of the buckets, ascending; one more bucket takes the rest. */
  readonly bounds: readonly number[];
  /** Of each bucket by itself. */
  readonly counts: Float64Array;
  sum = 0;

  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds, counts } = this;
    let bucket = 0;
    while (bucket < bounds.length && value > (bounds[bucket] ?? 0)) bucket++;
    counts[bucket] = (counts[bucket] ?? 0) + 1;
    this.sum += value;
  }
}
