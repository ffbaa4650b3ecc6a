import { isAscii, isUtf8 } from 'node:buffer';
import type { JSONRPCMessage } from '../sdk.js';
import type { JsonPart, PartJson } from './json-part.js';
import { type LongString, longestText, putLongStrings, takeLongStrings } from './long-strings.js';
import type { PiecedBytes } from './pieced-bytes.js';

/** A message as JSON; when it has a large part, in three pieces, of which that is the second. */
export type MessageJson = string | readonly [before: string, part: PartJson, behind: string];

/** A value that was read from JSON, and its large part with the bytes of that. */
export interface ParsedJson {
  readonly value: unknown;
  readonly part: JsonPart | undefined;
}

/** In bytes. Below this, looking for the part costs as much as it saves. */
export const smallestPart = 4 * 1024;
// How much may stand before the part, and behind it.
const edge = 1024;

const key = /\s*[{,]\s*"([^"\\]*)"\s*:\s*/y;
const text = /"(?:[^"\\]|\\.)*"/y;
const literal = /[-+.\w]+/y;
const literals = /"(?:[^"\\]|\\.)*"/g;

/**
 * `JSON.parse`, which also keeps the bytes of a large `result` or `params.arguments`. A part is read apart from what is
 * around it, so both are known to be whole; where anything is unusual there is no part.
 *
 * @param bytes - what `json` was decoded from; without them there is no part
 * @throws SyntaxError
 */
export function parseJson(json: string, bytes: PiecedBytes | undefined): ParsedJson {
  if (bytes !== undefined && json.length >= smallestPart) {
    const outline = takeLongStrings(json, bytes.all);
    const parsed = (outline && readPart(outline.text, outline.strings, json, bytes)) ?? readPart(json, [], json, bytes);
    if (parsed !== undefined) {
      return parsed;
    }
  }
  return { value: JSON.parse(json), part: undefined };
}

/** The same for a line that may be anything: the value is undefined when it is no JSON with members. */
export function parseLine(line: string, bytes: PiecedBytes | undefined): ParsedJson {
  // A throw is dear, so the plain cases are told by their first character.
  if (line[0] === '{' || line[0] === '[') {
    try {
      return parseJson(line, bytes);
    } catch {
      // It is no message either.
    }
  }
  return { value: undefined, part: undefined };
}

/** `JSON.stringify`, which takes the bytes of the part where the message still holds it. */
export function stringifyMessage(message: JSONRPCMessage, part: JsonPart | undefined): MessageJson {
  if (part !== undefined) {
    if ('result' in message && message.result === part.value) {
      const { result: _, ...rest } = message;
      return [`${open(rest)}"result":`, part.json, '}'];
    }
    if ('params' in message && message.params?.arguments === part.value) {
      const { params, ...rest } = message;
      const { arguments: _, ...others } = params;
      return [`${open(rest)}"params":${open(others)}"arguments":`, part.json, '}}'];
    }
  }
  return JSON.stringify(message);
}

/** An object as JSON, up to where another member can follow. */
function open(fields: object): string {
  const json = JSON.stringify(fields);
  return json === '{}' ? '{' : `${json.slice(0, -1)},`;
}

interface Found {
  readonly start: number;
  readonly end: number;
  /** Where the part stands in the value. */
  readonly path: readonly ['result'] | readonly ['params', 'arguments'];
}

/** @param isOutline - the text is short, and its part is not */
function findPart(json: string, isOutline: boolean): Found | undefined {
  const head = json.slice(0, edge);
  const [name, at] = findMember(head, 0, ['result', 'params']);
  if (name === undefined) {
    return undefined;
  }
  const [inner, start] = name === 'result' ? [name, at] : findMember(head, at, ['arguments']);
  if (inner === undefined || head[start] !== '{') {
    return undefined;
  }
  const path = name === 'result' ? (['result'] as const) : (['params', 'arguments'] as const);
  const end = isOutline ? skipValue(json, start) : findEnd(json, path.length);
  return end === undefined || (end - start < smallestPart && !isOutline) ? undefined : { start, end, path };
}

/** Looks among the first members of an object for one of these names. @returns it, and where its value begins */
function findMember(head: string, from: number, names: readonly string[]): [name: string | undefined, at: number] {
  for (let at = from; ; ) {
    key.lastIndex = at;
    const name = key.exec(head)?.[1];
    if (name === undefined || (head[at] === '{') !== (at === from)) {
      return [undefined, at];
    }
    at = key.lastIndex;
    if (names.includes(name)) {
      return [name, at];
    }
    const end = skipValue(head, at);
    if (end === undefined) {
      return [undefined, at];
    }
    at = end;
  }
}

/** Where a value of the head ends; undefined when it does not end there. */
function skipValue(head: string, from: number): number | undefined {
  let depth = 0;
  for (let at = from; at < head.length; ) {
    const token = head[at] === '"' ? text : literal;
    token.lastIndex = at;
    if (token.test(head)) {
      at = token.lastIndex;
    } else if (head[at] === '"') {
      return undefined;
    } else {
      depth += '{['.includes(head[at] as string) ? 1 : '}]'.includes(head[at] as string) ? -1 : 0;
      at += 1;
    }
    if (depth === 0) {
      return at;
    }
  }
  return undefined;
}

/** Where the last object that so many others enclose ends, unless it begins near the end too; -1 when there is none. */
function findEnd(json: string, depthOfPart: number): number {
  const start = Math.max(0, json.length - edge);
  const tail = json.slice(start);
  let depth = 0;
  let end = -1;
  for (let at = tail.length - 1; at >= 0; at--) {
    const character = tail[at];
    if (character === '"') {
      at = findQuote(tail, at);
    } else if (character === '}' || character === ']') {
      depth += 1;
      end = depth === depthOfPart + 1 && end === -1 ? start + at + 1 : end;
    } else if (character === '{' || character === '[') {
      depth -= 1;
      end = depth === depthOfPart ? -1 : end;
    }
  }
  return end;
}

/** The quote that begins the string which ends at `at`; -1 when it stands before the tail. */
function findQuote(tail: string, at: number): number {
  let quote = at;
  let backslashes: number;
  do {
    quote = quote === 0 ? -1 : tail.lastIndexOf('"', quote - 1);
    backslashes = 0;
    while (tail[quote - 1 - backslashes] === '\\') {
      backslashes += 1;
    }
  } while (backslashes % 2 === 1);
  return quote;
}

/**
 * Reads the part and what is around it. Undefined unless they are two whole values, of which the one is a member of the other.
 *
 * @param text - the whole JSON without these strings
 */
function readPart(
  text: string,
  strings: readonly LongString[],
  json: string,
  bytes: PiecedBytes,
): ParsedJson | undefined {
  const found = findPart(text, strings.length > 0);
  if (found === undefined) {
    return undefined;
  }
  const { start, end, path } = found;
  const partText = text.slice(start, end);
  const rest = `${text.slice(0, start)}0${text.slice(end)}`;
  // A line of its own is what the text has to be for most of those who get it.
  if (partText.includes('\n') || partText.includes('\r')) {
    return undefined;
  }
  // The strings stand in the part, or it is none.
  const ends = end + json.length - text.length;
  const isPlain = isAscii(bytes.all);
  const span = isPlain ? ([start, ends] as const) : spanOf(json, bytes.all, start, ends);
  if (span === undefined) {
    return undefined;
  }
  try {
    const value = JSON.parse(rest);
    const holder = path.length === 1 ? value : value.params;
    const name = path.length === 1 ? path[0] : path[1];
    // A name that stands there twice would be the part for one reader, and not for another.
    if (holder[name] !== 0 || countMembers(value) !== rest.replace(literals, '').split(':').length - 1) {
      return undefined;
    }
    const partValue = JSON.parse(partText);
    if (!putLongStrings(partValue, strings)) {
      return undefined;
    }
    holder[name] = partValue;
    const isText = isPlain && json.length <= longestText;
    return { value, part: { value: partValue, json: isText ? json.slice(...span) : bytes.keep(...span) } };
  } catch {
    return undefined;
  }
}

function countMembers(value: unknown): number {
  if (typeof value !== 'object' || value === null) {
    return 0;
  }
  const values = Object.values(value);
  return values.reduce(
    (count: number, member) => count + countMembers(member),
    Array.isArray(value) ? 0 : values.length,
  );
}

/** Where a stretch of the text stands in the bytes; undefined when they are not UTF-8, so that the text is another. */
function spanOf(json: string, bytes: Buffer, start: number, end: number): [start: number, end: number] | undefined {
  if (!isUtf8(bytes)) {
    return undefined;
  }
  const from = Buffer.byteLength(json.slice(0, start));
  return [from, from + Buffer.byteLength(json.slice(start, end))];
}
