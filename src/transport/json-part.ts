import type { Writable } from 'node:stream';

/** JSON as a text of ASCII alone, or as UTF-8, one piece behind the other, where it is very long or not ASCII. */
export type PartJson = string | readonly Buffer[];

/**
 * The large part of a message beside the bytes that it was read from: whoever passes the message on need not write it as JSON
 * again.
 *
 * It travels beside the message, in what `onmessage` and `send` get besides, and only between functions of this library that
 * are known to leave the value alone: anybody else could change the message, and the bytes would tell of another one.
 */
export interface JsonPart {
  readonly value: object;
  /** Its JSON in one line. */
  readonly json: PartJson;
}

const key = Symbol('part');
type Listener = ((...args: never[]) => unknown) | undefined;
const takers = new WeakSet<NonNullable<Listener>>();

/** In bytes. */
export function lengthOf(json: PartJson): number {
  return typeof json === 'string' ? json.length : json.reduce((sum, { length }) => sum + length, 0);
}

/** All of it in a row. */
export function bytesOf(json: PartJson): Buffer {
  return typeof json === 'string' ? Buffer.from(json, 'latin1') : Buffer.concat(json);
}

/** Writes it piece by piece, without making a string or a buffer of it once more. */
export function writePart(stream: Pick<Writable, 'write'>, json: PartJson): void {
  for (const piece of typeof json === 'string' ? [json] : json) {
    stream.write(piece, 'latin1');
  }
}

/** Marks a function that may get a part, and leaves its value alone or has it changed by nobody else. */
export function takesPart<T extends NonNullable<Listener>>(taker: T): T {
  takers.add(taker);
  return taker;
}

/** Whether a function is marked so. */
export function isTaker(receiver: Listener): boolean {
  return receiver !== undefined && takers.has(receiver);
}

/** Puts the part beside what else is said of a message. */
export function withPart<T extends object>(info: T | undefined, part: JsonPart): T {
  return { ...info, [key]: part } as unknown as T;
}

export function partOf(info: object | undefined): JsonPart | undefined {
  return (info as { readonly [key]?: JsonPart } | undefined)?.[key];
}

/** What `receiver` may get of it: without the part unless it is one of ours. */
export function infoFor<T extends object>(info: T | undefined, receiver: Listener): T | undefined {
  if (info === undefined || !(key in info) || isTaker(receiver)) {
    return info;
  }
  const { [key]: _, ...rest } = info as T & { readonly [key]?: JsonPart };
  return Object.keys(rest).length === 0 ? undefined : (rest as unknown as T);
}
