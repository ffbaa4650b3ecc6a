import type { StandardSchemaV1 } from '@standard-schema/spec';
import { GatewayError } from '../errors.js';
import { isThenable } from '../util/is-thenable.js';
import { type CheckContext, checkSchema } from './check-schema.js';
import { kindOf } from './describe-issue.js';
import { formatPath } from './path.js';

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

/**
 * Refuses what an argument cannot be, before anything is begun with it.
 *
 * @param of - whose: the name of a function
 * @param isFit - whether it is what it has to be
 * @param must - what that is, as in `serve must be a function`
 * @throws `GatewayError` `OPTION_INVALID`
 */
export function checkArgument(of: string, isFit: boolean, must: string, given: unknown): void {
  if (!isFit) {
    const kind = isThenable(given) ? 'a promise: await it' : given === null ? 'null' : kindOf(given);
    throw new GatewayError('OPTION_INVALID', `${of}: ${must}, not ${kind}`);
  }
}

/** Also of another realm or of a polyfill, which `instanceof` does not know. */
export function checkRequest(of: string, request: Request): void {
  const isFit = isFunction(Object(request).headers?.get);
  checkArgument(of, isFit, 'the request must be a Request; createNodeSessions takes those of node:http', request);
}

export function isFunction(input: unknown): boolean {
  return typeof input === 'function';
}
