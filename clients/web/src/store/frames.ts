/** Collects what has changed and hands it on once per animation frame: many tokens, one rendering. */
export class Frames<T> {
  readonly #flush: (changed: Iterable<T>) => void;
  readonly #changed = new Set<T>();
  #request = 0;

  constructor(flush: (changed: Iterable<T>) => void) {
    this.#flush = flush;
  }

  mark(thing: T): void {
    this.#changed.add(thing);
    this.#request ||= requestAnimationFrame(() => {
      this.#request = 0;
      const changed = [...this.#changed];
      this.#changed.clear();
      this.#flush(changed);
    });
  }

  stop(): void {
    cancelAnimationFrame(this.#request);
    this.#request = 0;
    this.#changed.clear();
  }
}
