import { isPlainObject } from './replace-variables.js';
import { didYouMean } from './suggest.js';

// What we read of a Valibot schema. All of it is public in Valibot, and a schema of another library has none of it.
interface SchemaShape {
  readonly type: string;
  readonly entries?: Readonly<Record<string, unknown>>;
  readonly wrapped?: unknown;
  readonly item?: unknown;
  readonly value?: unknown;
  readonly options?: readonly unknown[];
}

interface UnknownKey {
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly atKey: true;
}

/** Every key of `value` that a `strictObject` of this Valibot schema does not know, with the nearest one it does. */
export function unknownKeys(schema: unknown, value: unknown): UnknownKey[] {
  const found: UnknownKey[] = [];
  collect(schema, value, [], found);
  return found;
}

function collect(schema: unknown, value: unknown, path: readonly PropertyKey[], found: UnknownKey[]): void {
  if (!isSchemaShape(schema)) {
    return;
  }
  if (schema.wrapped !== undefined) {
    collect(schema.wrapped, value, path, found);
  } else if (Array.isArray(schema.options)) {
    collect(fitting(schema.options, value), value, path, found);
  } else if (schema.type === 'array' && Array.isArray(value)) {
    value.forEach((item, index) => {
      collect(schema.item, item, [...path, index], found);
    });
  } else if (isPlainObject(value) && schema.entries !== undefined) {
    const known = Object.keys(schema.entries);
    for (const [key, part] of Object.entries(value)) {
      if (Object.hasOwn(schema.entries, key)) {
        collect(schema.entries[key], part, [...path, key], found);
      } else if (schema.type === 'strict_object') {
        found.push({ path: [...path, key], message: unknownKeyMessage(key, known), atKey: true });
      }
    }
  } else if (isPlainObject(value) && schema.type === 'record') {
    for (const [key, part] of Object.entries(value)) {
      collect(schema.value, part, [...path, key], found);
    }
  }
}

function unknownKeyMessage(key: string, known: readonly string[]): string {
  const hint = didYouMean(key, known);
  return `is not a known key${hint === '' ? `; known are ${known.join(', ')}` : hint}`;
}

/** The one option of a union that has the shape of `value`, if it is only one. */
function fitting(options: readonly unknown[], value: unknown): unknown {
  const shapes = options.filter((option) => {
    const shape = innermost(option);
    return Array.isArray(value) ? shape?.type === 'array' : shape?.entries !== undefined || shape?.type === 'record';
  });
  return shapes.length === 1 ? shapes[0] : undefined;
}

function innermost(schema: unknown): SchemaShape | undefined {
  let at = schema;
  while (isSchemaShape(at) && at.wrapped !== undefined) {
    at = at.wrapped;
  }
  return isSchemaShape(at) ? at : undefined;
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
