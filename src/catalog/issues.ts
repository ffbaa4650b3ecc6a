import { formatPath, type Path } from '../checks/path.js';
import { type CatalogIssue, GatewayError } from '../errors.js';
import { locate, type Position } from './source.js';

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
