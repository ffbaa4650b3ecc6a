import type { StandardSchemaV1 } from '@standard-schema/spec';
import { type CheckContext, checkSchema } from './catalog/check-schema.js';
import { formatPath } from './catalog/issues.js';
import { GatewayError } from './errors.js';

const context: CheckContext = { secrets: new Map(), written: () => undefined };

/**
 * Refuses what a compiler would: options that nobody knows, and values of another type. A policy under a name that is not
 * quite right would not be in force, and nobody would know.
 *
 * @param of - whose options: the name of a function
 * @throws `GatewayError` `OPTION_INVALID` that names every problem
 */
export function checkOptions(of: string, schema: StandardSchemaV1, options: unknown): void {
  if (typeof options !== 'object' || options === null || Array.isArray(options)) {
    throw new GatewayError('OPTION_INVALID', `${of}: the options must be an object`);
  }
  // A key without a value is none: hosts leave options out by it.
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const { problems } = checkSchema(schema, given, context);
  if (problems.length > 0) {
    const list = problems.map(({ path, message }) => `${formatPath(path)} ${message}`.trim());
    throw new GatewayError('OPTION_INVALID', `${of}: ${list.join('; ')}`);
  }
}
