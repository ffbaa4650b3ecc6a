/** An array or object that is being written. */
interface Level {
  readonly part: object;
  /** Of an array: nothing. */
  readonly names: readonly string[] | undefined;
  readonly items: readonly unknown[];
  next: number;
}

const pieceLength = 64 * 1024;

/**
 * Writes a text that is the same for the same JSON, whatever the order of members, and another one for any other. Piece by
 * piece, as it may be long; and not by recursion, as what was read from JSON may be nested deeper than the stack allows.
 */
export function writeCanonical(value: unknown, write: (text: string) => void): void {
  let text = '';
  const levels: Level[] = [];
  const open = new Set<object>();
  const begin = (part: unknown) => {
    if (typeof part !== 'object' || part === null) {
      text += typeof part === 'string' ? JSON.stringify(part) : String(part);
    } else if (open.has(part)) {
      // Only a caller in the same process can send it.
      text += 'cycle';
    } else {
      open.add(part);
      levels.push(toLevel(part));
      text += Array.isArray(part) ? '[' : '{';
    }
  };
  begin(value);
  for (let level = levels.at(-1); level !== undefined; level = levels.at(-1)) {
    const { part, names, items, next } = level;
    if (next === items.length) {
      levels.pop();
      open.delete(part);
      text += '}';
    } else {
      level.next += 1;
      text += names === undefined ? ',' : `,${JSON.stringify(names[next])}:`;
      begin(items[next]);
    }
    if (text.length > pieceLength) {
      write(text);
      text = '';
    }
  }
  write(text);
}

function toLevel(part: object): Level {
  if (Array.isArray(part)) {
    return { part, names: undefined, items: part, next: 0 };
  }
  const fields = part as Readonly<Record<string, unknown>>;
  // No JSON has members that are undefined.
  const names = Object.keys(fields)
    .filter((name) => fields[name] !== undefined)
    .sort();
  return { part, names, items: names.map((name) => fields[name]), next: 0 };
}
