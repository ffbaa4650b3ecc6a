/** The member of a list result that holds its items. */
export type ListKind = 'tools' | 'prompts' | 'resources' | 'resourceTemplates';

/** The four lists of the protocol, and what differs between them. */
export const listKinds = {
  tools: { method: 'tools/list', capability: 'tools', changed: 'notifications/tools/list_changed' },
  prompts: { method: 'prompts/list', capability: 'prompts', changed: 'notifications/prompts/list_changed' },
  resources: { method: 'resources/list', capability: 'resources', changed: 'notifications/resources/list_changed' },
  resourceTemplates: {
    method: 'resources/templates/list',
    capability: 'resources',
    changed: 'notifications/resources/list_changed',
  },
} as const satisfies Record<ListKind, object>;

/** An entry of a list, as the server sent it. */
export type ListItem = Readonly<Record<string, unknown>>;

export const allListKinds = Object.keys(listKinds) as readonly ListKind[];

const byMethod = new Map<string, ListKind>(allListKinds.map((kind) => [listKinds[kind].method, kind]));

/** The list that a request asks for. */
export function listKindOf(method: string): ListKind | undefined {
  return byMethod.get(method);
}
