import * as v from 'valibot';
import type { ToCatalogOptions } from './catalog/convert/to-catalog.js';
import type { LoadCatalogOptions } from './catalog/load-catalog.js';
import type { ParseCatalogOptions } from './catalog/parse-catalog.js';
import { isFunction } from './checks/check-options.js';
import type {
  FetchOptions,
  Gateway,
  GatewayLimits,
  GatewayOptions,
  MergedOptions,
  ServerConnectOptions,
  StopOptions,
} from './gateway-api.js';
import type { HttpSessionOptions } from './hosts/session-options.js';
import { isFields } from './util/fields.js';
import { isHeaderValue } from './util/header-value.js';
import { parseSize } from './util/quantity.js';
import type { WatchCatalogOptions } from './watch-catalog.js';

/** A schema for each option, so that none is forgotten here. */
type Schemas<Options> = Readonly<Record<keyof Options, v.GenericSchema>>;

// Most types say more than an object would: a class of the host's own may have what an interface asks for.
function object(message: string) {
  return v.custom<object>(isFields, message);
}

const optionalFunction = v.optional(v.custom<object>(isFunction, 'must be a function'));
const word = v.string('must be a string');
const listOf = (one: v.GenericSchema<string>) => v.optional(v.array(one, 'must be an array of strings'));
const words = listOf(word);
// What no header can say would refuse everybody.
const hosts = listOf(
  v.pipe(
    word,
    v.regex(/^[^\s/*]*$/, 'is no host: write its name, or that and its port, such as "mcp.example.com:3000"'),
  ),
);
const origins = listOf(
  v.pipe(
    word,
    v.regex(
      /^(null|[^\s/*]+:\/\/[^\s/*]*)$/,
      'is no origin: write it without a path, such as "https://app.example.com"',
    ),
  ),
);
const number = v.optional(v.number('must be a number'));
const count = v.optional(
  v.custom<number>(
    (input) => input === Number.POSITIVE_INFINITY || (Number.isSafeInteger(input) && Number(input) >= 1),
    ({ input }) => `must be a whole number from 1, not ${String(input)}`,
  ),
);
const size = v.optional(
  v.custom<string>(
    (input) => typeof input === 'string' && (parseSize(input) ?? 0) > 0,
    ({ input }) => `must be a size such as "2GiB", not ${JSON.stringify(input)}`,
  ),
);
const durationFrom = (least: number) =>
  v.optional(
    v.custom<number>(
      (input) => typeof input === 'number' && input >= least,
      ({ input }) => `must be a number of milliseconds from ${least}, not ${String(input)}`,
    ),
  );
const duration = durationFrom(0);
// Everybody without one would be the same caller, whom null or "" names.
const nameOfCaller = v.optional(
  v.pipe(v.string('must be a string'), v.nonEmpty('is empty: leave it out for who has none')),
);
const caller = v.pipe(
  object("must be an object such as { id: 'ada' }"),
  v.looseObject({ id: nameOfCaller, principal: nameOfCaller }),
);
const clock = v.optional(
  v.custom<object>(
    (input) =>
      typeof input === 'object' &&
      ['now', 'date', 'setTimeout', 'clearTimeout'].every((name) => isFunction(Reflect.get(input ?? {}, name))),
    'must be an object with now(), date(), setTimeout() and clearTimeout()',
  ),
);

const runtime = v.custom<object>((input) => {
  const { type, spec, open } = Object(input);
  return typeof type === 'string' && Object(spec)['~standard'] !== undefined && isFunction(open);
}, 'must be a runtime, with type, spec and open(), such as new DockerRuntime()');

/** The type that two of them have: only one could be in force. */
function sharedType(runtimes: readonly object[]): string | undefined {
  const types = runtimes.map((one) => (one as { readonly type: string }).type);
  return types.find((type, index) => types.indexOf(type) < index);
}

// What another release may have added stays.
const snapshot = v.looseObject({
  fingerprint: v.string('must be a string'),
  capabilities: object('must be an object'),
  instructions: v.optional(v.string('must be a string')),
  lists: v.record(v.string(), v.array(object('must be an object'), 'must be an array')),
});

export const gatewayOptions = v.strictObject({
  runtimes: v.optional(
    v.pipe(
      v.array(runtime, 'must be an array of runtimes'),
      v.check(
        (runtimes) => sharedType(runtimes) === undefined,
        ({ input }) => `holds two of the type "${sharedType(input)}": keep one`,
      ),
    ),
  ),
  builtins: v.optional(v.boolean('must be true or false')),
  env: v.optional(
    v.custom<object>(
      (input) => isFunction(input) || (typeof input === 'object' && input !== null),
      'must be an object such as process.env, or a function',
    ),
  ),
  onEvent: optionalFunction,
  authorize: optionalFunction,
  intercept: optionalFunction,
  names: optionalFunction,
  snapshot: v.optional(
    v.pipe(object('must be an object: JSON.parse() the text of one'), v.record(v.string(), snapshot)),
  ),
  limits: v.optional(
    v.strictObject({ starting: count, instances: count, memory: size } satisfies Schemas<GatewayLimits>),
  ),
  clock,
  random: optionalFunction,
} satisfies Schemas<GatewayOptions>);

export const serverConnectOptions = v.strictObject({
  caller: v.optional(caller),
  era: v.optional(v.picklist(['legacy', 'modern'])),
} satisfies Schemas<ServerConnectOptions>);

export const mergedOptions = v.strictObject({
  caller: v.optional(caller),
  servers: words,
  tags: words,
} satisfies Schemas<MergedOptions>);

export const fetchOptions = v.strictObject({
  caller,
  servers: words,
  tags: words,
  hosts,
  origins,
} satisfies Schemas<FetchOptions>);

export const sessionOptions = v.strictObject({
  authenticate: optionalFunction,
  challenge: v.optional(
    v.pipe(
      v.string('must be a string'),
      v.check(isHeaderValue, 'holds a character that no HTTP header can have, such as a line break'),
    ),
  ),
  hosts,
  origins,
  maxSessions: number,
  maxBodyBytes: number,
  bodyTimeoutMs: number,
  idleTimeoutMs: number,
  disconnectTimeoutMs: number,
  onError: optionalFunction,
  clock,
} satisfies Schemas<HttpSessionOptions<never>>);

const signal = v.optional(
  v.custom<AbortSignal>(
    (input) => typeof input === 'object' && isFunction(Reflect.get(input ?? {}, 'throwIfAborted')),
    'must be an AbortSignal',
  ),
);

const environment = v.optional(
  v.custom<object>((input) => typeof input === 'object' && input !== null, 'must be an object such as process.env'),
);
const texts = v.optional(v.record(v.string(), v.string('must be a string')));

export const loadOptions = v.strictObject({
  env: environment,
  headers: texts,
  signal,
} satisfies Schemas<LoadCatalogOptions>);

export const parseOptions = v.strictObject({
  format: v.optional(v.picklist(['yaml', 'json'])),
  env: environment,
} satisfies Schemas<ParseCatalogOptions>);

export const convertOptions = v.strictObject({
  variables: texts,
  onIgnored: optionalFunction,
} satisfies Schemas<ToCatalogOptions>);

export const signalOptions = v.strictObject({ signal } satisfies Schemas<NonNullable<Parameters<Gateway['check']>[1]>>);

export const stopOptions = v.strictObject({ graceMs: duration } satisfies Schemas<StopOptions>);

export const watchOptions = v.strictObject({
  headers: texts,
  map: optionalFunction,
  onEvent: optionalFunction,
  debounceMs: duration,
  maxWaitMs: duration,
  // Without a pause it would be asked all the time.
  intervalMs: durationFrom(1),
  graceMs: duration,
  clock,
} satisfies Schemas<WatchCatalogOptions>);
