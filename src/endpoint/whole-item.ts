import type { ListItem, ListKind } from './list-kinds.js';

/** Members of items in which null may mean something. */
const free: ReadonlySet<string> = new Set(['inputSchema', 'outputSchema', '_meta']);

/** How deep the protocol says what an item has, such as each argument of a prompt. */
const depthOfItem = 3;

/**
 * An item with what the protocol requires of it, in the plainest form. Clients of the SDK refuse a whole list for one item that
 * lacks it, so that one server would cost what all others have; real ones write tools whose `inputSchema` says no type.
 */
export function toWholeItem(kind: ListKind, given: ListItem): ListItem {
  // In many languages null is written for each member that is not there.
  const item = hasNull(given, depthOfItem) ? (withoutNulls(given, depthOfItem) as ListItem) : given;
  switch (kind) {
    case 'tools': {
      const schema = typeof item.inputSchema === 'object' ? (item.inputSchema as { type?: unknown } | null) : null;
      // The arguments of a call are an object, whatever a schema says.
      return schema?.type === 'object' ? item : { ...item, inputSchema: { ...schema, type: 'object' } };
    }
    case 'resources':
      return typeof item.name === 'string' ? item : { ...item, name: item.uri };
    case 'resourceTemplates':
      return typeof item.name === 'string' ? item : { ...item, name: item.uriTemplate };
    default:
      return item;
  }
}

function hasNull(value: unknown, depth: number): boolean {
  return (
    typeof value === 'object' &&
    (value === null || (depth > 0 && fieldsOf(value).some(([, member]) => hasNull(member, depth - 1))))
  );
}

function withoutNulls(value: unknown, depth: number): unknown {
  if (depth === 0 || typeof value !== 'object' || value === null) {
    return value;
  }
  if (Array.isArray(value)) {
    return value.map((part) => withoutNulls(part, depth - 1));
  }
  const members = Object.entries(value).filter(([, member]) => member !== null);
  return Object.fromEntries(
    members.map(([key, member]) => [key, free.has(key) ? member : withoutNulls(member, depth - 1)]),
  );
}

function fieldsOf(value: object): [string, unknown][] {
  return Object.entries(value).filter(([key]) => !free.has(key));
}
