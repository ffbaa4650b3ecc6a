import type { Variable } from './interpolate.js';
import type { Path } from './issues.js';

const none: ReadonlyMap<string, string> = new Map();
const noPaths: readonly Path[] = [];

// Shorter values are found in every message: replacing them would only spoil the text.
const shortest = 4;

const credentialWords =
  /pass(?:word|wd|phrase)|secret|token|credential|authorization|cookie|api[_-]?key|(?:access|private|signing|encryption|account|auth)[_-]?key/i;
const credentialSegments = /(?:^|[_-])(?:pwd|pass|auth|pat|bearer)(?:$|[_-])|[_-]key$/i;

/** Does a key of this name usually hold a credential? */
export function looksLikeCredential(key: string): boolean {
  return credentialWords.test(key) || credentialSegments.test(key);
}

/** Is what stands at `path` a credential, by its key? Elsewhere a key with "secret" in it names one that lives somewhere else. */
export function holdsCredential(path: Path): boolean {
  const holder = path.at(-2);
  return (holder === 'env' || holder === 'headers') && looksLikeCredential(String(path.at(-1)));
}

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
      this.#add(value, name);
    }
  }

  /** A string that stands in the catalog itself. */
  addLiteral(path: Path, value: string): void {
    if (holdsCredential(path)) {
      const key = String(path.at(-1));
      this.#add(value, key);
      // "Bearer abc": the part after the scheme is the secret.
      const credential = /^[A-Za-z]+ +(\S+)$/.exec(value.slice(0, 8192))?.[1];
      if (credential !== undefined) {
        this.#add(credential, key);
      }
    }
    this.addPassword(path, value);
  }

  /** The password of a URL: as a URL has it, as it was written, and as it is. */
  addPassword(path: Path, value: string): void {
    if (value.includes('://') && value.includes('@') && URL.canParse(value)) {
      const { password } = new URL(value);
      const written = /:\/\/[^:/?#]*:([^/?#]*)@/.exec(value)?.[1] ?? '';
      for (const form of [password, written, decode(password)]) {
        this.#add(form, `${String(path.at(-1))} password`);
      }
    }
  }

  #add(value: string, name: string): void {
    if (value.length >= shortest && !this.values.has(value)) {
      this.#values ??= new Map();
      this.#values.set(value, `\${${name}}`);
    }
  }
}

function decode(password: string): string {
  try {
    return decodeURIComponent(password);
  } catch {
    // A "%" that stands for itself.
    return password;
  }
}
