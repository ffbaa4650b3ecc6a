import { GatewayError } from '../../errors.js';
import type { TlsOptions } from '../../transport/http/connections.js';
import { unknownKey } from '../../util/suggest.js';

const words = {
  string: 'a string',
  number: 'a number from 0',
  boolean: 'true or false',
  false: 'false',
  function: 'a function',
  object: 'an object',
};

const tlsKeys = ['ca', 'cert', 'key', 'passphrase'] satisfies (keyof TlsOptions)[] as string[];

/** What each option of a runtime may be. */
export type OptionKinds<Options> = Readonly<Record<keyof Options, readonly (keyof typeof words)[]>>;

/**
 * Refuses what a compiler would: options that nobody knows, which would have no effect, and values of another kind.
 *
 * @param of - the name of the runtime's class
 * @throws `GatewayError` `OPTION_INVALID` that names every problem
 */
export function checkOptions<Options extends object>(of: string, kinds: OptionKinds<Options>, options: Options): void {
  if (kindOf(options) !== 'object') {
    throw new GatewayError('OPTION_INVALID', `${of}: the options must be an object`);
  }
  const problems = Object.entries(options).flatMap(([name, value]) => {
    // An option without a value is none.
    if (value === undefined) {
      return [];
    }
    if (!Object.hasOwn(kinds, name)) {
      return [`${name} ${unknownKey(name, Object.keys(kinds))}`];
    }
    const allowed: readonly string[] = kinds[name as keyof Options];
    const must = kinds[name as keyof Options].map((kind) => words[kind]).join(' or ');
    const fits = allowed.includes(kindOf(value)) || (value === false && allowed.includes('false'));
    if (!fits) {
      return [`${name} must be ${must}`];
    }
    const unknown = name === 'tls' ? Object.keys(value).filter((key) => !tlsKeys.includes(key)) : [];
    return unknown.map((key) => `tls.${key} ${unknownKey(key, tlsKeys)}`);
  });
  if (problems.length > 0) {
    throw new GatewayError('OPTION_INVALID', `${of}: ${problems.join('; ')}`);
  }
}

function kindOf(value: unknown): string {
  const isOdd = value === null || Array.isArray(value) || (typeof value === 'number' && !(value >= 0));
  return isOdd ? 'something else' : typeof value;
}
