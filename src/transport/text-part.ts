/**
 * The large part of a message beside the text that it was read from: whoever passes the message on need not write it as JSON
 * again.
 *
 * It travels beside the message, in what `onmessage` and `send` get besides, and only between functions of this library that
 * are known to leave the part alone: anybody else could change the message, and the text would be another one.
 */
export interface TextPart {
  readonly value: object;
  readonly text: string;
}

const key = Symbol('text');
type Listener = ((...args: never[]) => unknown) | undefined;
const takers = new WeakSet<NonNullable<Listener>>();

/** Marks a function that may get a text, and leaves the part alone or has it changed by nobody else. */
export function takesText<T extends NonNullable<Listener>>(taker: T): T {
  takers.add(taker);
  return taker;
}

/** Puts the text beside what else is said of a message. */
export function withText<T extends object>(info: T | undefined, part: TextPart): T {
  return { ...info, [key]: part } as unknown as T;
}

export function textOf(info: object | undefined): TextPart | undefined {
  return (info as { readonly [key]?: TextPart } | undefined)?.[key];
}

/** What `receiver` may get of it: without the text unless it is one of ours. */
export function infoFor<T extends object>(info: T | undefined, receiver: Listener): T | undefined {
  if (info === undefined || !(key in info) || (receiver !== undefined && takers.has(receiver))) {
    return info;
  }
  const { [key]: _, ...rest } = info as T & { readonly [key]?: TextPart };
  return Object.keys(rest).length === 0 ? undefined : (rest as unknown as T);
}
