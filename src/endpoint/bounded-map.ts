/** A map that forgets what was set longest ago once it is full. */
export class BoundedMap<Key, Value> {
  readonly #map = new Map<Key, Value>();
  /** Behind what was forgotten: from the start, each look would step over all that was deleted there. */
  #oldest: Iterator<Key> | undefined;
  /** How often something was set since that was begun anew: while it stays where it is, it keeps all that the map has held. */
  #sets = 0;
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  get(key: Key): Value | undefined {
    return this.#map.get(key);
  }

  set(key: Key, value: Value): void {
    this.#map.delete(key);
    this.#sets += 1;
    if (this.#sets >= this.#max) {
      this.#beginAnew();
    }
    if (this.#map.size >= this.#max) {
      this.#oldest ??= this.#map.keys();
      this.#map.delete(this.#oldest.next().value as Key);
    }
    this.#map.set(key, value);
  }

  values(): Iterable<Value> {
    return this.#map.values();
  }

  delete(key: Key): void {
    if (this.#map.delete(key)) {
      this.#beginAnew();
    }
  }

  /** Forgets every entry that `matches`. */
  deleteWhere(matches: (value: Value, key: Key) => boolean): void {
    for (const [key, value] of this.#map) {
      if (matches(value, key)) {
        this.delete(key);
      }
    }
  }

  #beginAnew(): void {
    this.#oldest = undefined;
    this.#sets = 0;
  }
}
