/** A place in a text, both counted from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Where one key or item of an object or list was written. */
export interface Place {
  /** The key; for an item of a list the item itself. */
  readonly key: Position;
  readonly value: Position;
  /** A number or boolean as it was written: `1e3`, not 1000. */
  readonly text: string | undefined;
}

/** What is remembered about an object or list that was read from text. */
export interface Origin {
  readonly parent: object | undefined;
  readonly start: Position;
  readonly places: Map<PropertyKey, Place>;
}

// Keyed by identity, so that nothing shows on the objects and a spread entry keeps what its parts remember.
const origins = new WeakMap<object, Origin>();
const folders = new WeakMap<object, string>();

/** Notes that `value` begins at `start`. Its keys are added to the result's `places`. */
export function remember(value: object, parent: object | undefined, start: Position): Origin {
  const origin: Origin = { parent, start, places: new Map() };
  origins.set(value, origin);
  return origin;
}

/** Notes in which folder relative paths of everything below `root` are looked up. */
export function rememberFolder(root: object, folder: string): void {
  folders.set(root, folder);
}

/** The folder of the file that `entry`, or the entry it was spread from, was read from. */
export function folderOf(entry: object): string | undefined {
  for (let at = origins.has(entry) ? entry : spreadFrom(entry); at !== undefined; at = origins.get(at)?.parent) {
    const folder = folders.get(at);
    if (folder !== undefined) {
      return folder;
    }
  }
  return undefined;
}

/** The place of `path` below `root`; of the nearest thing around it when it was not written itself. */
export function locate(root: unknown, path: readonly PropertyKey[], part: 'key' | 'value'): Position | undefined {
  let found: Position | undefined;
  let at = root;
  for (const [index, key] of path.entries()) {
    if (!isObject(at)) {
      break;
    }
    const place = placeOf(at, key);
    found = (index === path.length - 1 && part === 'key' ? place?.key : place?.value) ?? startOf(at) ?? found;
    if (place === undefined && !Object.hasOwn(at, key)) {
      break;
    }
    at = Reflect.get(at, key);
  }
  return found ?? (isObject(root) ? startOf(root) : undefined);
}

/** A number or boolean below `root` as it was written. */
export function writtenAt(root: unknown, path: readonly PropertyKey[]): string | undefined {
  let at = root;
  for (const key of path.slice(0, -1)) {
    at = isObject(at) && Object.hasOwn(at, key) ? Reflect.get(at, key) : undefined;
  }
  const last = path.at(-1);
  return isObject(at) && last !== undefined ? placeOf(at, last)?.text : undefined;
}

function placeOf(at: object, key: PropertyKey): Place | undefined {
  const own = origins.get(at);
  if (own !== undefined) {
    return own.places.get(key);
  }
  const original = spreadFrom(at);
  const unchanged = original !== undefined && Reflect.get(original, key) === Reflect.get(at, key);
  return unchanged ? origins.get(original)?.places.get(key) : undefined;
}

function startOf(at: object): Position | undefined {
  const origin = origins.get(at) ?? origins.get(spreadFrom(at) ?? at);
  return origin?.start;
}

/** The parsed object that `copy` was spread from: the parent of what it still shares with it. */
function spreadFrom(copy: object): object | undefined {
  if (Array.isArray(copy)) {
    return undefined;
  }
  const values = Object.values(copy);
  const shared = originOfPart(values);
  if (shared !== undefined) {
    return shared.parent;
  }
  // { ...entry, runtime: { ...entry.runtime, command } } shares what lies one step deeper.
  for (const value of values) {
    if (isObject(value) && !Array.isArray(value)) {
      const between = originOfPart(Object.values(value))?.parent;
      const outer = between === undefined ? undefined : origins.get(between)?.parent;
      if (outer !== undefined) {
        return outer;
      }
    }
  }
  return undefined;
}

/** Of the first of `values` that was read from text. */
function originOfPart(values: readonly unknown[]): Origin | undefined {
  for (const value of values) {
    const origin = isObject(value) ? origins.get(value) : undefined;
    if (origin !== undefined) {
      return origin;
    }
  }
  return undefined;
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}
