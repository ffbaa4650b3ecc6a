/** A fenced block of a page. */
export interface Block {
  readonly language: string;
  readonly text: string;
  /** Line of the fence in the page, from 1. */
  readonly line: number;
  /** `path#region`, from a comment `<!-- example: … -->` on the line above (an empty line between is allowed). */
  readonly example: string | undefined;
}

/** The fenced blocks of a page, also those inside of a list. */
export function findBlocks(page: string): Block[] {
  const lines = page.split('\n');
  const blocks: Block[] = [];
  for (let at = 0; at < lines.length; at++) {
    const open = /^( *)```(\w*)/.exec(lines[at] ?? '');
    if (open === null) continue;
    const [, indent = '', language = ''] = open;
    const start = at + 1;
    do at++;
    while (at < lines.length && lines[at]?.trim() !== '```');
    if (at === lines.length) throw new Error(`the block that starts in line ${start} does not end`);
    const text = lines.slice(start, at).map((line) => line.slice(indent.length));
    const above = [lines[start - 2], lines[start - 3]].map((line) => line?.trim() ?? '');
    const mark = above[0] === '' ? above[1] : above[0];
    const example = /^<!-- example: (\S+) -->$/.exec(mark ?? '')?.[1];
    blocks.push({ language, text: text.join('\n'), line: start, example });
  }
  return blocks;
}

/**
 * The lines between `#region name` and `#endregion name` (in a comment of the file's language), without the indent that
 * all have in common; the whole file when no region is named.
 */
export function readRegion(file: string, name: string | undefined): string {
  if (name === undefined) return file.trimEnd();
  const lines = file.split('\n');
  const find = (word: string) => lines.flatMap((line, at) => (isMark(line, word, name) ? [at] : []));
  const [starts, ends] = [find('#region'), find('#endregion')];
  const [start, end] = [starts[0], ends[0]];
  if (start === undefined || end === undefined || starts.length + ends.length !== 2 || end < start) {
    throw new Error(`the file needs one region "${name}", with its end`);
  }
  // Regions may lie in each other: marks of others are no content.
  const content = lines.slice(start + 1, end).filter((line) => !/^\s*(\/\/|#) #(end)?region /.test(line));
  const indent = Math.min(...content.filter((line) => line.trim() !== '').map((line) => line.search(/\S/)));
  return content
    .map((line) => line.slice(indent))
    .join('\n')
    .trim();
}

function isMark(line: string, word: string, name: string): boolean {
  return [`// ${word} ${name}`, `# ${word} ${name}`].includes(line.trim());
}

/** Where the links of a page lead; code is no link. */
export function findLinks(page: string): string[] {
  const prose = page.replaceAll(/^( *)```[\s\S]*?^\1```/gm, '').replaceAll(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map((match) => match[1] ?? '');
}

/** The ids that a page's headings get on code hosts. */
export function headingIds(page: string): string[] {
  return [...page.matchAll(/^#{1,6} (.+)$/gm)].map((match) =>
    (match[1] ?? '')
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N}\s_-]/gu, '')
      .trim()
      .replaceAll(/\s/g, '-'),
  );
}

/** The cells of the first table below a heading, without its head. */
export function tableBelow(page: string, heading: string): string[][] {
  const section = page.split(/^## /m).find((text) => text.startsWith(`${heading}\n`)) ?? '';
  const lines = section.split('\n');
  const start = lines.findIndex((line) => line.startsWith('|'));
  const end = lines.findIndex((line, at) => at > start && !line.startsWith('|'));
  return lines.slice(start + 2, end).map((line) =>
    line
      .slice(1, -1)
      .split('|')
      .map((cell) => cell.trim()),
  );
}
