import { type JsonSchema, toJsonSchema } from '@valibot/to-json-schema';
import type * as v from 'valibot';
import { envelopeSchema } from '../../src/catalog/envelope.js';

/** A runtime whose spec a catalog may hold. */
export interface DescribedRuntime {
  readonly type: string;
  readonly schema: v.GenericSchema;
}

/**
 * The JSON schema of a catalog, for completion in editors. It knows the envelope and the specs of `runtimes`, and
 * leaves other types of runtimes alone.
 */
export function catalogJsonSchema(runtimes: readonly DescribedRuntime[]): JsonSchema {
  const entry = convert(envelopeSchema);
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

function runtimeSchema(runtimes: readonly DescribedRuntime[]): JsonSchema {
  return {
    type: 'object',
    // The second one lets custom runtimes through; the first one is what editors offer.
    properties: { type: { anyOf: [{ enum: runtimes.map(({ type }) => type) }, { type: 'string' }] } },
    required: ['type'],
    allOf: runtimes.map(({ type, schema }) => {
      const spec = convert(schema);
      return {
        if: { properties: { type: { const: type } }, required: ['type'] },
        // biome-ignore lint/suspicious/noThenProperty: the keyword of JSON Schema
        then: { ...spec, properties: { type: { const: type }, ...spec.properties } },
      };
    }),
  };
}

function convert(schema: v.GenericSchema): JsonSchema {
  // Checks that are functions have no counterpart in JSON Schema: what they refuse is found when the catalog is read.
  const { $schema: _, ...rest } = toJsonSchema(schema, { errorMode: 'ignore', typeMode: 'input' });
  return rest;
}
