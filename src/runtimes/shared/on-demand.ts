/**
 * What opens the servers of a runtime, loaded with the first of them: a host that uses other runtimes never waits for its
 * code.
 */
export class OnDemand<Part extends { close(): Promise<void> }> {
  readonly #load: () => Promise<Part>;
  #part: Promise<Part> | undefined;

  constructor(load: () => Promise<Part>) {
    this.#load = load;
  }

  get(): Promise<Part> {
    this.#part ??= this.#load();
    return this.#part;
  }

  /** Closes it, if anybody has asked for it. */
  async close(): Promise<void> {
    await (await this.#part)?.close();
  }
}
