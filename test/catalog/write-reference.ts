import type { JsonSchema } from '@valibot/to-json-schema';
import { toText } from './describe-schema.js';
import type { Comments } from './read-comments.js';

/** A map of a catalog, as a section of the reference. */
export interface Section {
  readonly title: string;
  readonly text: string;
  readonly schema: JsonSchema;
  readonly comments: Comments;
}

/** The page that lists every key, with its type, its default and its comment. */
export function catalogReference(sections: readonly Section[]): string {
  const head = [
    '# Catalog reference',
    'Every key of a catalog, written from the schemas that check it and the comments of their types: `npm run schema` writes this page',
    'again, and a test fails when it is out of date. [Catalog](catalog.md) explains the values, variables and limits;',
    '[Runtimes](runtimes.md) has a page for each runtime.',
  ];
  return `${head[0]}\n\n${head.slice(1).join('\n')}\n\n${sections.map(writeSection).join('\n')}`;
}

function writeSection({ title, text, schema, comments }: Section): string {
  return `## ${title}\n\n${text}\n\n${writeTables('', schema, comments)}`;
}

/** A table for a map, then one for each map within it. */
function writeTables(path: string, schema: JsonSchema, comments: Comments): string {
  const inner: string[] = [];
  const rows = Object.entries(schema.properties ?? {}).map(([name, property]) => {
    const comment = comments.get(name);
    if (comment === undefined || typeof property === 'boolean') throw new Error(`the key "${name}" has no comment`);
    const map = mapWithin(property);
    const place = `${path}${name}${map === property ? '' : '[]'}`;
    if (map !== undefined) inner.push(`### \`${place}\`\n\n${writeTables(`${place}.`, map, comment.members)}`);
    const required = schema.required?.includes(name) === true;
    const cells = [`\`${name}\``, typeOf(property), required ? '**required**' : writeDefault(comment.default, map)];
    return `| ${[...cells, comment.description].map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  });
  return [`| Key | Type | Default | Meaning |\n|---|---|---|---|\n${rows.join('\n')}\n`, ...inner].join('\n');
}

function mapWithin(schema: JsonSchema): JsonSchema | undefined {
  if (schema.properties !== undefined) return schema;
  const { items } = schema;
  return items === undefined || typeof items === 'boolean' || Array.isArray(items) ? undefined : mapWithin(items);
}

function writeDefault(value: string | undefined, map: JsonSchema | undefined): string {
  if (value === undefined) return map === undefined ? 'none' : 'see below';
  const text = toText(value);
  if (text !== value) {
    const [, start = '', rest = ''] = /^'([^']*)'(.*)$/.exec(value) ?? [];
    return `\`${start}\`${rest}`;
  }
  return /^(?:true|false|\d+|\[\]|\{\})$/.test(value) ? `\`${value}\`` : value;
}

function typeOf(schema: JsonSchema, many = false): string {
  const word = (one: string) => (many ? `${one}s` : one);
  if (schema.const !== undefined) return `\`${schema.const}\``;
  if (schema.enum !== undefined) return schema.enum.map((value) => `\`${value}\``).join(', ');
  if (schema.anyOf !== undefined) return schema.anyOf.map((one) => typeOf(one as JsonSchema, many)).join(' or ');
  if (schema.type === 'array') return `list of ${typeOf(schema.items as JsonSchema, true)}`;
  if (schema.type === 'object') {
    const values = schema.additionalProperties;
    return typeof values === 'object' && values.type !== undefined
      ? `${word('map')} of ${typeOf(values, true)}`
      : word('map');
  }
  if (schema.pattern?.includes('(?:ms|s|m|h|d)')) return word('duration');
  if (schema.pattern?.includes('KiB|MiB')) return word('size');
  return word(schema.type === 'integer' ? 'whole number' : String(schema.type));
}
