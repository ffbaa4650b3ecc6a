import type { JsonSchema } from '@valibot/to-json-schema';
import type { Comments } from './read-comments.js';

/** A JSON schema whose properties have the comments of the interface that it checks, for editors to show. */
export function describeSchema(schema: JsonSchema, comments: Comments): JsonSchema {
  const { properties } = schema;
  const described = Object.entries(properties ?? {}).map(([name, property]) => {
    const comment = comments.get(name);
    if (comment === undefined || comment.description === '' || typeof property === 'boolean') {
      throw new Error(`the key "${name}" has no comment`);
    }
    const { description, default: value, members } = comment;
    const inner = describeNested(property, members);
    return [
      name,
      { ...inner, description: value === undefined ? description : `${description} Default: ${toText(value)}` },
    ];
  });
  return { ...schema, properties: Object.fromEntries(described) };
}

function describeNested(schema: JsonSchema, comments: Comments): JsonSchema {
  const { items } = schema;
  if (schema.properties !== undefined) return describeSchema(schema, comments);
  if (items === undefined || typeof items === 'boolean' || Array.isArray(items)) return schema;
  return { ...schema, items: describeNested(items, comments) };
}

/** A default as it is written in a catalog. */
export function toText(value: string): string {
  return value.replace(/^'([^']*)'/, '$1');
}
