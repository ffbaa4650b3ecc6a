import type { StandardSchemaV1 } from '@standard-schema/spec';
import { isPlainObject } from '../util/fields.js';
import { unknownKey } from '../util/suggest.js';
import { kindOf } from './describe-issue.js';
import { formatPath, type Path } from './path.js';

// What we read of a Valibot schema. All of it is public in Valibot, and a schema of another library has none of it.
interface SchemaShape extends StandardSchemaV1 {
  readonly type: string;
  readonly entries?: Readonly<Record<string, unknown>>;
  readonly wrapped?: unknown;
  readonly item?: unknown;
  readonly value?: unknown;
  readonly options?: readonly unknown[];
}

/** What a Valibot schema does not say about a value by itself. */
export interface Walked {
  /** Every key that a `strictObject` does not know (Valibot stops at the first), and lists in place of objects. */
  readonly problems: { readonly path: Path; readonly message: string; readonly atKey: boolean }[];
  /** By path: the only option of a union that has the shape of the value there. */
  readonly narrowed: Map<string, { readonly option: StandardSchemaV1; readonly value: unknown }>;
}

/** Goes through a Valibot schema and a value side by side; finds nothing in schemas of other libraries. */
export function walkSchema(schema: unknown, value: unknown): Walked {
  const walked: Walked = { problems: [], narrowed: new Map() };
  walk(schema, value, [], walked);
  return walked;
}

/** @param path - is changed on the way, and as it was at the end */
function walk(schema: unknown, value: unknown, path: PropertyKey[], walked: Walked): void {
  if (!isSchemaShape(schema) || typeof value !== 'object' || value === null) {
    return;
  }
  if (schema.wrapped !== undefined) {
    walk(schema.wrapped, value, path, walked);
  } else if (Array.isArray(schema.options)) {
    const option = fitting(schema.options, value);
    if (option !== undefined) {
      walked.narrowed.set(formatPath(path), { option, value });
      walk(option, value, path, walked);
    }
  } else if (schema.type === 'array') {
    if (Array.isArray(value)) {
      for (const [index, item] of value.entries()) {
        walkBelow(schema.item, item, path, index, walked);
      }
    }
  } else if (schema.entries !== undefined || schema.type === 'record') {
    walkObject(schema, value, path, walked);
  }
}

function walkObject(schema: SchemaShape, value: object, path: PropertyKey[], walked: Walked): void {
  if (!isPlainObject(value)) {
    // To Valibot every object is one, a list too.
    if (Array.isArray(value) || schema.type === 'record') {
      walked.problems.push({ path: [...path], message: `must be an object, not ${kindOf(value)}`, atKey: false });
    }
    return;
  }
  for (const key of Object.keys(value)) {
    if (schema.entries === undefined) {
      walkBelow(schema.value, value[key], path, key, walked);
    } else if (Object.hasOwn(schema.entries, key)) {
      walkBelow(schema.entries[key], value[key], path, key, walked);
    } else if (schema.type === 'strict_object') {
      const message = unknownKey(key, Object.keys(schema.entries));
      walked.problems.push({ path: [...path, key], message, atKey: true });
    }
  }
}

function walkBelow(schema: unknown, value: unknown, path: PropertyKey[], key: PropertyKey, walked: Walked): void {
  // Most values are strings: nothing lies below them.
  if (typeof value === 'object') {
    path.push(key);
    walk(schema, value, path, walked);
    path.pop();
  }
}

/** The one option of a union that has the shape of `value`, if it is only one. */
function fitting(options: readonly unknown[], value: object): SchemaShape | undefined {
  const shapes = options.filter(isSchemaShape).filter((option) => {
    const shape = innermost(option);
    return Array.isArray(value) ? shape.type === 'array' : shape.entries !== undefined || shape.type === 'record';
  });
  return shapes.length === 1 ? shapes[0] : undefined;
}

function innermost(schema: SchemaShape): SchemaShape {
  return isSchemaShape(schema.wrapped) ? innermost(schema.wrapped) : schema;
}

function isSchemaShape(schema: unknown): schema is SchemaShape {
  return (
    typeof schema === 'object' &&
    schema !== null &&
    'kind' in schema &&
    schema.kind === 'schema' &&
    'type' in schema &&
    typeof schema.type === 'string'
  );
}
