import type { ListItem, ListKind } from './list-kinds.js';
import { free, named, readable, type Shape } from './readable.js';

const base = { icons: [{ sizes: [] }], _meta: free } as const;
const schema = { properties: named, required: [] } as const;
const day = String.raw`\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])`;
const minute = String.raw`([01]\d|2[0-3]):[0-5]\d`;
const time = new RegExp(String.raw`^${day}T${minute}:[0-5]\d(\.\d+)?(Z|[+-]${minute})$`);

/** Members of items of all kinds: none of them means different things in two. */
const item: Shape = {
  ...base,
  inputSchema: schema,
  outputSchema: schema,
  // A time without its zone is easily written in Python.
  annotations: { audience: [], lastModified: time },
  execution: {},
  arguments: [base],
};

/**
 * An item with what the protocol requires of it, in the plainest form, and without what clients cannot read. Those of the SDK refuse
 * a whole list for one such item, so that one server would cost what all others have; real ones write tools whose `inputSchema` says
 * no type.
 */
export function toWholeItem(kind: ListKind, given: ListItem): ListItem {
  const whole = readable(item, given) as ListItem;
  if (kind === 'tools') {
    // The arguments of a call are an object, whatever a schema says.
    const schema = whole.inputSchema as { type?: unknown } | undefined;
    return schema?.type === 'object' ? whole : { ...whole, inputSchema: { ...schema, type: 'object' } };
  }
  const { name, uri, uriTemplate } = whole;
  return typeof name === 'string' ? whole : { ...whole, name: uri ?? uriTemplate };
}

/** The same for a task, which may be kept for ever. */
export function toWholeTask(given: ListItem): ListItem {
  return { ttl: null, ...(readable(item, given) as ListItem) };
}
