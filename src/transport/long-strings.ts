import { isAscii } from 'node:buffer';
import { randomUUID } from 'node:crypto';

/** A string of a JSON text that is long and stands there as it is, without escapes. */
export interface LongString {
  readonly value: string;
  /** What stands in its place in the outline. */
  readonly token: string;
}

/** A JSON text whose long strings were taken out: it is JSON if, and only if, the text is. */
export interface Outline {
  readonly text: string;
  /** In the order of the text; at least one. */
  readonly strings: readonly LongString[];
}

// Below this, looking at a string costs as much as reading it.
const shortest = 8 * 1024;
/** In characters. Node holds longer texts outside of the heap: nothing but a collection of all of it would end them. */
export const longestText = 512 * 1024;
// The outline is searched character by character.
const longestOutline = 4 * 1024;
// Of quotes: after so many there is little to gain.
const mostQuotes = 100;
const backslash = '\\';
// Nobody outside can write a string that is taken for one of these.
let tokens: string | undefined;

/**
 * Takes the long strings out of a JSON text. They are slices of it, and never read character by character: for an image in
 * base64 this is several times as fast as `JSON.parse`. Undefined where it is not worth while, or anything is unusual.
 *
 * @param bytes - what the text was decoded from
 */
export function takeLongStrings(json: string, bytes: Buffer): Outline | undefined {
  if (json.length < shortest || json.length > longestText || !isAscii(bytes)) {
    return undefined;
  }
  const spans = findLongStrings(json);
  const left = spans.reduce((sum, { start, end }) => sum - (end - start), json.length);
  if (spans.length === 0 || left > longestOutline || spans.some((span) => !isPlain(json, bytes, span))) {
    return undefined;
  }
  tokens ??= randomUUID();
  const strings: LongString[] = [];
  let text = '';
  let at = 0;
  for (const { start, end } of spans) {
    const token = `${tokens}:${strings.length}`;
    text += json.slice(at, start) + token;
    strings.push({ value: json.slice(start, end), token });
    at = end;
  }
  return { text: text + json.slice(at), strings };
}

/**
 * Puts the strings into what was read from the outline.
 *
 * @returns whether each was found once, as the value of a member or in a list
 */
export function putLongStrings(value: object, strings: readonly LongString[]): boolean {
  const left = new Map(strings.map(({ token, value }) => [token, value]));
  put(value, left);
  return left.size === 0;
}

function put(holder: object, left: Map<string, string>): void {
  const members = holder as Record<string, unknown>;
  for (const key of Object.keys(members)) {
    const value = members[key];
    if (typeof value === 'object' && value !== null) {
      put(value, left);
    } else if (typeof value === 'string' && left.has(value)) {
      // Its own, whatever its name is: no setter is called.
      members[key] = left.get(value);
      left.delete(value);
    }
  }
}

interface Span {
  readonly start: number;
  readonly end: number;
}

function findLongStrings(json: string): Span[] {
  const spans: Span[] = [];
  let start = json.indexOf('"') + 1;
  let end = start;
  for (let quotes = 0; start > 0 && quotes < mostQuotes; quotes += 1) {
    end = json.indexOf('"', end);
    if (end === -1) {
      break;
    }
    if (isEscaped(json, start, end)) {
      end += 1;
      continue;
    }
    if (end - start >= shortest) {
      spans.push({ start, end });
    }
    start = json.indexOf('"', end + 1) + 1;
    end = start;
  }
  return spans;
}

/** Whether the quote at `at` belongs to the string which begins at `start`. */
function isEscaped(json: string, start: number, at: number): boolean {
  let backslashes = 0;
  while (at - backslashes > start && json[at - backslashes - 1] === backslash) {
    backslashes += 1;
  }
  return backslashes % 2 === 1;
}

/** Whether characters stand for themselves between two quotes (RFC 8259, "Strings"). */
function isPlain(json: string, bytes: Buffer, { start, end }: Span): boolean {
  const next = json.indexOf(backslash, start);
  return (next === -1 || next >= end) && !hasControls(bytes, start, end);
}

/** Whether any byte of ASCII is below 0x20. Four at a time: of all others such a sum has the highest bit. */
function hasControls(bytes: Buffer, start: number, end: number): boolean {
  const words = Math.min(end, Math.ceil((bytes.byteOffset + start) / 4) * 4 - bytes.byteOffset);
  const count = (end - words) >> 2;
  const view = new Int32Array(bytes.buffer, bytes.byteOffset + words, count);
  let all = -1;
  for (let at = 0; at < count; at++) {
    all &= (view[at] as number) + 0x60606060;
  }
  let least = 0xff;
  for (let at = start; at < words; at++) least = Math.min(least, bytes[at] as number);
  for (let at = words + 4 * count; at < end; at++) least = Math.min(least, bytes[at] as number);
  return (~all & 0x80808080) !== 0 || least < 0x20;
}
