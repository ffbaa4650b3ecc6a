import type { Path } from '../checks/path.js';
import { addCredential, addPassword, addSecret, holdsCredential, looksLikeCredential } from '../util/credentials.js';
import type { Variable } from './interpolate.js';

const none: ReadonlyMap<string, string> = new Map();
const noPaths: readonly Path[] = [];

/** Remembers the values that must not show, each with what stands for it. */
export class Secrets {
  // Most entries have none.
  #values: Map<string, string> | undefined;
  #later: Path[] | undefined;

  get values(): ReadonlyMap<string, string> {
    return this.#values ?? none;
  }

  /** Where the strings are whose variables are looked up later. */
  get later(): readonly Path[] {
    return this.#later ?? noPaths;
  }

  addLater(path: Path): void {
    this.#later ??= [];
    this.#later.push(path);
  }

  /** A variable from the environment; the catalog's own default only when its name says that it is a credential. */
  addVariable({ name, value, isDefault }: Variable): void {
    if (!isDefault || looksLikeCredential(name)) {
      addSecret(this.#known(), value, name);
    }
  }

  /** A string that stands in the catalog itself. */
  addLiteral(path: Path, value: string): void {
    if (holdsCredential(path)) {
      addCredential(this.#known(), String(path.at(-1)), value);
    }
    this.addPassword(path, value);
  }

  /** The password of a URL. */
  addPassword(path: Path, value: string): void {
    if (value.includes('@')) {
      addPassword(this.#known(), String(path.at(-1)), value);
    }
  }

  #known(): Map<string, string> {
    this.#values ??= new Map();
    return this.#values;
  }
}
