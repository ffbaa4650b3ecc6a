/** The lists that may change, by what a stream of notifications calls them: whose they are, and what a server says then. */
export const changingLists = {
  toolsListChanged: { capability: 'tools', method: 'notifications/tools/list_changed' },
  promptsListChanged: { capability: 'prompts', method: 'notifications/prompts/list_changed' },
  resourcesListChanged: { capability: 'resources', method: 'notifications/resources/list_changed' },
} as const;

/** What a server says of its lists. It is the same for everybody. */
export const listChanges: ReadonlySet<string> = new Set(Object.values(changingLists).map(({ method }) => method));
