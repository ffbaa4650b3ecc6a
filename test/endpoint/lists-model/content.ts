import type { ListKind } from '../../../src/endpoint/list-kinds.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { Json } from '../scripted-server.js';

/** What a server has at a time. Each item says whose it is, and of which make. */
export interface Content {
  /** What it declares when it starts. */
  readonly declared: Json;
  readonly items: Readonly<Record<ListKind, readonly Json[]>>;
  readonly pageSize: number;
  /** What a stateless server says of how long a page is good, and for whom. */
  readonly ttlMs: number;
  readonly cacheScope: 'public' | 'private';
}

/** What an item says of itself, whatever name it has for the caller. */
export interface Mark {
  readonly from: string;
  /** Its name or URI at the server. */
  readonly own: string;
  readonly make: string;
  /** Of a long list that its server gives in one page: how many there are. */
  readonly count?: number;
  /** The caller for whom the host has made it. */
  readonly for?: number;
}

export const keys = { tools: 'name', prompts: 'name', resources: 'uri', resourceTemplates: 'uriTemplate' } as const;
const capabilities = ['tools', 'prompts', 'resources'] as const;

/** The same for several servers, and names that are too long, or odd. */
function names(kind: ListKind, id: string): readonly string[] {
  switch (kind) {
    case 'resources':
      return ['x://common/1', 'x://common/2', `x://${id}/1`, `x://${id}/t/7`];
    case 'resourceTemplates':
      return ['x://common/t/{n}', `x://${id}/t/{n}`, '{n}', 'x://common/{+n}'];
    default:
      return ['one', 'two', 'three', 'denied', 'odd name!', `${'long'.repeat(17)}`];
  }
}

export const longName = 'no';

/** More than come in one page of the merged list. */
function createLong(kind: ListKind, id: string, chance: Chance, pageSize: number): Json[] {
  const make = `${id}.${chance.below(1_000)}`;
  const count = 900 + chance.below(1_500);
  return Array.from({ length: count }, (_, index) => {
    const own = `${longName}${kind.startsWith('res') ? ':' : ''}${index}`;
    return {
      [keys[kind]]: own,
      name: own,
      inputSchema: { type: 'object' },
      _meta: { from: id, own, make, ...(count <= pageSize && { count }) },
    };
  });
}

function createItems(kind: ListKind, id: string, chance: Chance, pageSize: number): Json[] {
  if (pageSize > 100 && kind !== 'prompts') {
    return createLong(kind, id, chance, pageSize);
  }
  const items = names(kind, id)
    .filter(() => !chance.oneIn(3))
    .map((own) => createItem(kind, id, own, chance));
  const [first] = items;
  // Twice the same name.
  return first !== undefined && chance.oneIn(6) ? [...items, first] : items;
}

function createItem(kind: ListKind, id: string, own: string, chance: Chance): Json {
  const make = `${id}.${chance.below(3)}`;
  const more = kind === 'tools' ? { inputSchema: { type: 'object' } } : kind === 'prompts' ? {} : { name: make };
  return { [keys[kind]]: own, ...more, _meta: { from: id, own, make } };
}

/** @param long - the server whose lists are long, if any */
export function createContent(id: string, chance: Chance, long?: string): Content {
  const listChanged = !chance.oneIn(5);
  const declared = Object.fromEntries(
    capabilities
      .filter(() => !chance.oneIn(6))
      .map((name) => [name, { listChanged, ...(name === 'resources' && { subscribe: true }) }]),
  );
  const pageSize = id === long ? chance.one([400, 5_000]) : chance.one([1, 2, 3, 100]);
  const kinds: ListKind[] = ['tools', 'prompts', 'resources', 'resourceTemplates'];
  return {
    declared,
    items: Object.fromEntries(kinds.map((kind) => [kind, createItems(kind, id, chance, pageSize)])) as never,
    pageSize,
    ttlMs: chance.one([0, 1_000, 20_000]),
    cacheScope: chance.one(['public', 'private']),
  };
}

/** Another list of one kind. */
export function withOther(content: Content, kind: ListKind, id: string, chance: Chance): Content {
  return { ...content, items: { ...content.items, [kind]: createItems(kind, id, chance, content.pageSize) } };
}

export function markOf(item: Json): Mark {
  return item._meta as Mark;
}
