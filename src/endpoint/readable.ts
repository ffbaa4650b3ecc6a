import { isFields } from '../util/fields.js';

/** What clients of the SDK can read: an object with members of these shapes, an array of parts of one, a text of a form, or (true) anything. */
export type Shape = { readonly [member: string]: Shape } | readonly [Shape?] | RegExp | true;

/** Any object, in which null may mean something. */
export const free: Shape = {};

/** An object of objects, whatever their names. */
export const named: Shape = {};

/**
 * A value without what clients cannot read, as they would refuse the whole of it; undefined where nothing is left. In many languages null
 * is written for each member that is not there, and `[]` for an object without members.
 */
export function readable(shape: Shape = true, value: unknown): unknown {
  if (shape instanceof RegExp) {
    return typeof value === 'string' && shape.test(value) ? value : undefined;
  }
  if (Array.isArray(shape)) {
    return Array.isArray(value) ? value.flatMap((part) => readable(shape[0], part) ?? []) : undefined;
  }
  if (shape === true || (shape === free && isFields(value))) {
    return value ?? undefined;
  }
  if (!isFields(value)) {
    return value === true || Array.isArray(value) ? {} : undefined;
  }
  // Copied only where something differs, as lists are long.
  let changed: Record<string, unknown> | undefined;
  const members = shape as { readonly [member: string]: Shape };
  for (const [key, part] of Object.entries(value)) {
    const own = readable(shape === named ? free : Object.hasOwn(members, key) ? members[key] : true, part);
    if (own !== part) {
      changed ??= { ...value };
      changed[key] = own;
      own ?? delete changed[key];
    }
  }
  return changed ?? value;
}
