import { type JsonSchema, toJsonSchema } from '@valibot/to-json-schema';
import type * as v from 'valibot';
import { envelopeSchema } from '../../src/catalog/envelope.js';
import { describeSchema } from './describe-schema.js';
import { type Comments, readComments } from './read-comments.js';
import { catalogReference } from './write-reference.js';

/** A runtime whose spec a catalog may hold. */
export interface DescribedRuntime {
  readonly type: string;
  readonly schema: v.GenericSchema;
  /** The comments of the interface that the schema checks. */
  readonly comments: Comments;
}

const entryComments = readComments('catalog/catalog.ts', 'ServerInput');

/**
 * The JSON schema of a catalog, for completion in editors. It knows the envelope and the specs of `runtimes`, and
 * leaves other types of runtimes alone.
 */
export function catalogJsonSchema(runtimes: readonly DescribedRuntime[]): JsonSchema {
  const written = entrySchema();
  const { id } = written.properties ?? {};
  const entry = describeSchema(
    // Variables are not replaced in ids.
    { ...written, properties: { ...withVariables(written).properties, ...(id !== undefined && { id }) } },
    entryComments,
  );
  const { runtime, ...properties } = entry.properties ?? {};
  return {
    $schema: 'http://json-schema.org/draft-07/schema#',
    title: 'Catalog of MCP servers',
    type: 'object',
    properties: {
      $schema: { type: 'string' },
      servers: { type: 'array', items: { ...entry, properties: { ...properties, runtime: runtimeSchema(runtimes) } } },
    },
    required: ['servers'],
    additionalProperties: false,
  };
}

/** The page that lists what the schema of a catalog allows, and in-process entries, which only code can write. */
export function catalogReferencePage(runtimes: readonly DescribedRuntime[]): string {
  const comments = readComments('runtimes/in-process.ts', 'InProcessSpec');
  const server: JsonSchema = { type: 'function' as 'object' };
  return catalogReference([
    {
      title: 'An entry',
      text: 'A catalog is a map with one key, `servers`: a list of entries. (`$schema` is allowed beside it, for editors.)',
      schema: entrySchema(),
      comments: entryComments,
    },
    ...runtimes.map(({ type, schema, comments }) => ({
      title: `\`${type}\``,
      text: `The keys beside \`type: ${type}\` in [\`runtime\`](runtimes/${type}.md).`,
      schema: convert(schema),
      comments,
    })),
    {
      title: '`in-process`',
      text: 'The key beside `type: "in-process"` in [`runtime`](runtimes/in-process.md), in code alone.',
      schema: { type: 'object', properties: { server }, required: ['server'] },
      comments,
    },
  ]);
}

/** An entry without what its runtime adds to it. */
function entrySchema(): JsonSchema {
  const entry = convert(envelopeSchema);
  return { ...entry, properties: { ...entry.properties, runtime: { type: 'object' } } };
}

function runtimeSchema(runtimes: readonly DescribedRuntime[]): JsonSchema {
  return {
    type: 'object',
    // The second one lets custom runtimes through; the first one is what editors offer.
    properties: { type: { anyOf: [{ enum: runtimes.map(({ type }) => type) }, { type: 'string' }] } },
    required: ['type'],
    allOf: runtimes.map(({ type, schema, comments }) => {
      const spec = describeSchema(withVariables(convert(schema)), comments);
      return {
        if: { properties: { type: { const: type } }, required: ['type'] },
        // biome-ignore lint/suspicious/noThenProperty: the keyword of JSON Schema
        then: { ...spec, properties: { type: { const: type }, ...spec.properties } },
      };
    }),
  };
}

/** The schema of what is written, where a `${VAR}` stands for a text that only the reader of the catalog knows. */
function withVariables(schema: JsonSchema): JsonSchema {
  const { properties, items, additionalProperties, anyOf, pattern } = schema;
  if (schema.enum !== undefined) {
    return { anyOf: [schema, { type: 'string', pattern: variable }] };
  }
  return {
    ...schema,
    ...(properties && {
      properties: Object.fromEntries(Object.entries(properties).map(([key, one]) => [key, below(one)])),
    }),
    ...(items !== undefined && !Array.isArray(items) && { items: below(items) }),
    ...(additionalProperties !== undefined && { additionalProperties: below(additionalProperties) }),
    ...(anyOf && { anyOf: anyOf.map(below) }),
    ...(pattern !== undefined && !pattern.endsWith(variable) && { pattern: `(?:${pattern})|${variable}` }),
  };
}

const variable = '\\$\\{';

function below<Schema extends JsonSchema | boolean>(schema: Schema): JsonSchema | Schema {
  return typeof schema === 'boolean' ? schema : withVariables(schema);
}

function convert(schema: v.GenericSchema): JsonSchema {
  // Checks that are functions have no counterpart in JSON Schema: what they refuse is found when the catalog is read.
  const { $schema: _, ...rest } = toJsonSchema(schema, { errorMode: 'ignore', typeMode: 'input' });
  return rest;
}
