const longest = 48;

/** Makes ids of names, which may hold anything: each name its own, and the same one whatever else the catalog holds. */
export class IdMaker {
  readonly #ids = new Map<string, string>();

  constructor(names: readonly string[]) {
    const taken = new Set<string>();
    // Who has an id for a name keeps it, whatever comes first.
    const inOrder = [...names.filter((name) => toId(name) === name), ...names.filter((name) => toId(name) !== name)];
    for (const name of inOrder) {
      const wanted = toId(name);
      let id = wanted;
      for (let number = 2; taken.has(id.toLowerCase()); number++) {
        id = `${shorten(wanted, longest - `-${number}`.length)}-${number}`;
      }
      taken.add(id.toLowerCase());
      this.#ids.set(name, id);
    }
  }

  idOf(name: string): string {
    return this.#ids.get(name) as string;
  }
}

function toId(name: string): string {
  const words = name
    .replaceAll(/[^a-zA-Z0-9_-]+/g, '-')
    .replaceAll(/_{2,}/g, '_')
    .replace(/^[_-]+/, '');
  return shorten(words, longest) || 'server';
}

function shorten(id: string, length: number): string {
  return id.slice(0, length).replace(/[_-]+$/, '');
}
