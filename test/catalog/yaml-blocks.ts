/** The YAML blocks of a page in Markdown. */
export function yamlBlocks(page: string): string[] {
  return [...page.matchAll(/```yaml\n(.*?)```/gs)].map(([, block]) => block ?? '');
}

/** Blocks show a catalog, one of its entries, or the runtime of one. */
export function toCatalog(block: string): string {
  if (block.startsWith('servers:')) {
    return block;
  }
  const entry = block.startsWith('- id:') ? block : `- id: server\n${indent(block)}`;
  return `servers:\n${indent(entry)}`;
}

function indent(text: string): string {
  return text.replaceAll(/^(?=.)/gm, '  ');
}
