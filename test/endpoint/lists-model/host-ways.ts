import type { ListKind } from '../../../src/endpoint/list-kinds.js';
import type { Json } from '../scripted-server.js';
import { keys, markOf } from './content.js';

/** What an interceptor does. */
export type Way = 'pass' | (typeof ways)[number];

export const ways = [
  'hide',
  'mark',
  'mark',
  'rename',
  'rename',
  'add',
  'own',
  'throw',
  'code',
  'gateway error',
  'nothing',
  'no list',
  'twice',
  'catch',
] as const;

/** Something that the host has, and no server. */
export function createExtra(kind: ListKind, server: string, caller: number): Json {
  const own = kind === 'tools' || kind === 'prompts' ? 'extra' : `x://${server}/extra`;
  return {
    [keys[kind]]: own,
    name: own,
    inputSchema: { type: 'object' },
    _meta: { from: server, own, make: 'host', for: caller },
  };
}

export function isExtra(own: string): boolean {
  return own === 'extra' || own.endsWith('/extra');
}

/** A name as its server knows it, whatever it was when its list was shown. */
export function ownNameOf(name: unknown): string {
  return String(name).replace(/-r$/, '');
}

/** @returns what is shown of a server's list; undefined for a list that does not come */
export function applyWay(
  way: Way,
  kind: ListKind,
  server: string,
  caller: number,
  items: readonly Json[],
): readonly Json[] | undefined {
  const extra = createExtra(kind, server, caller);
  switch (way) {
    case 'throw':
    case 'code':
    case 'gateway error':
    case 'nothing':
      return undefined;
    case 'no list':
      return [];
    case 'own':
      return [extra];
    case 'add':
      return [...items, extra];
    case 'hide':
      return items.filter((item) => (markOf(item)?.own.length ?? 0) % 2 === 0);
    case 'mark':
      return items.map((item) =>
        markOf(item) === undefined
          ? item
          : { ...item, _meta: { ...markOf(item), make: `${markOf(item).make}!`, for: caller } },
      );
    case 'rename':
      return kind === 'tools' || kind === 'prompts' ? items.map((item) => renamed(item, caller)) : items;
    default:
      return items;
  }
}

// What is denied by its name stays so, and what has none has none.
function renamed(item: Json, caller: number): Json {
  const { name } = item;
  return typeof name !== 'string' || name === 'denied'
    ? item
    : { ...item, name: `${name}-r`, _meta: { ...markOf(item), for: caller } };
}
