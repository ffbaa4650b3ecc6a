import { type CatalogIssue, GatewayError } from '../errors.js';
import { locate, type Position } from './source.js';

/** A path into a catalog: keys and indexes. */
export type Path = readonly PropertyKey[];

// Beyond this nobody reads on, and one mistake in a loop must not cost the memory of a million messages.
const mostIssues = 1000;

/** What is known about a problem besides its message. */
export interface IssueDetails {
  /** The key itself is wrong, not what it holds. */
  readonly atKey?: boolean | undefined;
  readonly server?: string | undefined;
  /** Where, when the catalog's objects do not know. */
  readonly position?: Position | undefined;
  /** Nothing at this path or below it can be judged any more. */
  readonly settles?: boolean | undefined;
}

/** Collects every problem of a catalog, to be thrown as one error. */
export class Issues {
  readonly #root: () => unknown;
  readonly #found = new Map<string, CatalogIssue>();
  readonly #settled = new Set<string>();
  #count = 0;

  /** @param root - the catalog, to look up lines and columns */
  constructor(root: () => unknown) {
    this.#root = root;
  }

  /** How many problems were added. */
  get count(): number {
    return this.#count;
  }

  add(path: Path, message: string, details: IssueDetails = {}): void {
    if (this.isSettled(path)) {
      return;
    }
    this.#count++;
    const shown = formatPath(path);
    if (details.settles === true) {
      this.#settled.add(shown);
    }
    if (this.#found.size >= mostIssues) {
      return;
    }
    const position = details.position ?? locate(this.#root(), path, details.atKey === true ? 'key' : 'value');
    this.#found.set(`${shown}\n${message}`, {
      path: shown,
      message,
      ...(details.server === undefined ? {} : { server: details.server }),
      ...(position === undefined ? {} : { line: position.line, column: position.column }),
    });
  }

  /** Says that `path` cannot be judged, without a problem of its own. */
  settle(path: Path): void {
    this.#settled.add(formatPath(path));
  }

  /** Has this path, or something around it, been judged already? */
  isSettled(path: Path): boolean {
    if (this.#settled.size === 0) {
      return false;
    }
    return Array.from({ length: path.length + 1 }, (_, length) => formatPath(path.slice(0, length))).some((part) =>
      this.#settled.has(part),
    );
  }

  /** @throws `GatewayError` `CATALOG_INVALID` with every problem, when there is one. */
  throwIfAny(name = 'the catalog'): void {
    const issues = [...this.#found.values()];
    const count = issues.length < mostIssues ? issues.length : this.#count;
    if (count > mostIssues) {
      issues.push({ path: '', message: `and ${count - mostIssues} more problems` });
    }
    if (issues.length > 0) {
      throw catalogError(issues, name, undefined, count);
    }
  }
}

/** One error that lists all of `issues`. */
export function catalogError(
  issues: readonly CatalogIssue[],
  name = 'the catalog',
  cause?: unknown,
  count = issues.length,
): GatewayError {
  const problems = count === 1 ? '1 problem' : `${count} problems`;
  const lines = issues.map(({ path, message, line, column }) => {
    const place = line === undefined || column === undefined ? '' : `(${line}:${column})`;
    const where = [path, place].filter((part) => part !== '').join(' ');
    return where === '' ? message : `${where}: ${message}`;
  });
  return new GatewayError('CATALOG_INVALID', `${name} is not valid, ${problems}:\n${lines.join('\n')}`, {
    issues,
    cause,
  });
}

/** `servers[0].runtime.url`; a key that is no plain word is quoted. */
export function formatPath(path: Path): string {
  let text = '';
  for (const key of path) {
    if (typeof key === 'number') {
      text += `[${key}]`;
    } else if (/^[A-Za-z_][\w-]{0,63}$/.test(String(key))) {
      text += text === '' ? String(key) : `.${String(key)}`;
    } else {
      text += `[${quote(String(key))}]`;
    }
  }
  return text;
}

/** A word of the catalog in a message: quoted, on one line, not too long, and nothing in it that a terminal obeys. */
export function quote(text: string): string {
  const quoted = JSON.stringify(text.length > 64 ? `${text.slice(0, 63)}…` : text);
  return quoted.replace(unseen, (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

// What JSON leaves as it is: controls of eight bits, other ends of lines, what turns the direction of text, and what is not
// seen or looks like a space.
const unseen = /[\x7f-\xa0\xad\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000\ufeff]/g;
