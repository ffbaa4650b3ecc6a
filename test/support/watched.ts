/** Something that changes, and is waited for: whoever changes it says so. */
export class Watched {
  #waiting: (() => void)[] = [];

  /** What `find` finds, as soon as it does. */
  async until<T>(find: () => T | undefined): Promise<T> {
    for (;;) {
      const found = find();
      if (found !== undefined) {
        return found;
      }
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  changed(): void {
    for (const resolve of this.#waiting.splice(0)) {
      resolve();
    }
  }
}
