import * as v from 'valibot';
import { isFields } from '../util/fields.js';
import { isFunction } from './check-options.js';

/** A schema for each option, so that none is forgotten. */
export type Schemas<Options> = Readonly<Record<keyof Options, v.GenericSchema>>;

// Most types say more than an object would: a class of the host's own may have what an interface asks for.
export function object(message: string) {
  return v.custom<object>(isFields, message);
}

export const optionalFunction = v.optional(v.custom<object>(isFunction, 'must be a function'));
export const optionalObject = v.optional(object('must be an object'));
export const text = v.optional(v.string('must be a string'));
export const boolean = v.optional(v.boolean('must be true or false'));
export const numberFrom0 = v.optional(
  v.pipe(v.number('must be a number from 0'), v.minValue(0, 'must be a number from 0')),
);

const word = v.string('must be a string');
const listOf = (one: v.GenericSchema<string>) => v.optional(v.array(one, 'must be an array of strings'));

export const words = listOf(word);
// What no header can say would refuse everybody.
export const hosts = listOf(
  v.pipe(
    word,
    v.regex(/^[^\s/*]*$/, 'is no host: write its name, or that and its port, such as "mcp.example.com:3000"'),
  ),
);
export const origins = listOf(
  v.pipe(
    word,
    v.regex(
      /^(null|[^\s/*]+:\/\/[^\s/*]*)$/,
      'is no origin: write it without a path, such as "https://app.example.com"',
    ),
  ),
);

export const texts = v.optional(v.record(v.string(), v.string('must be a string')));

export const durationFrom = (least: number) =>
  v.optional(
    v.custom<number>(
      (input) => typeof input === 'number' && input >= least,
      ({ input }) => `must be a number of milliseconds from ${least}, not ${String(input)}`,
    ),
  );
export const duration = durationFrom(0);

export const clock = v.optional(
  v.custom<object>(
    (input) =>
      typeof input === 'object' &&
      ['now', 'date', 'setTimeout', 'clearTimeout'].every((name) => isFunction(Reflect.get(input ?? {}, name))),
    'must be an object with now(), date(), setTimeout() and clearTimeout()',
  ),
);

export const signal = v.optional(
  v.custom<AbortSignal>(
    (input) => typeof input === 'object' && isFunction(Reflect.get(input ?? {}, 'throwIfAborted')),
    'must be an AbortSignal',
  ),
);

export const environment = v.optional(
  v.custom<object>((input) => typeof input === 'object' && input !== null, 'must be an object such as process.env'),
);
