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

  /** Rejects when it cannot be loaded; the next call tries again. */
  get(): Promise<Part> {
    this.#part ??= this.#load().catch((error: unknown) => {
      this.#part = undefined;
      throw error;
    });
    return this.#part;
  }

  /** Closes it, if anybody has asked for it. */
  async close(): Promise<void> {
    const part = await this.#part?.catch(() => undefined);
    await part?.close();
  }
}
