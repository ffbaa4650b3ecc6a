import { BoundedMap } from './bounded-map.js';

/** Whose an id is that a caller of the merged peer knows. */
export interface IdOrigin {
  readonly server: string;
  /** The server's own. */
  readonly id: string;
}

const maxIds = 10_000;

/**
 * Ids that servers give out and have to be unique within one, as the merged peer is to its caller. They keep their own form;
 * should two servers give out the same one, the later shows under an alias.
 */
export class OwnedIds {
  readonly #origins = new BoundedMap<string, IdOrigin>(maxIds);
  readonly #aliases = new BoundedMap<string, string>(maxIds);

  find(shown: string): IdOrigin | undefined {
    return this.#origins.get(shown);
  }

  /** A server has given out an id. @returns the form in which the caller knows it */
  see(server: string, id: string): string {
    const known = this.#origins.get(id);
    if (known === undefined) {
      this.#origins.set(id, { server, id });
      return id;
    }
    if (known.server === server && known.id === id) {
      return id;
    }
    const key = JSON.stringify([server, id]);
    let alias = this.#aliases.get(key);
    if (alias === undefined) {
      alias = `${server}__${id}`;
      // A server may well have made up just this id.
      while (this.#origins.get(alias) !== undefined) {
        alias = `${server}__${alias}`;
      }
      this.#aliases.set(key, alias);
      this.#origins.set(alias, { server, id });
    }
    return alias;
  }
}
