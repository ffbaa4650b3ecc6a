import { withoutNulls } from '../util/without-nulls.js';
import type { ListItem, ListKind } from './list-kinds.js';

/** How deep the protocol says what an item has, such as each argument of a prompt. */
const depthOfItem = 3;

/**
 * An item with what the protocol requires of it, in the plainest form. Clients of the SDK refuse a whole list for one item that
 * lacks it, so that one server would cost what all others have; real ones write tools whose `inputSchema` says no type.
 */
export function toWholeItem(kind: ListKind, given: ListItem): ListItem {
  const item = withoutNulls(given, depthOfItem);
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
