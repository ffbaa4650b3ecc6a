import * as v from 'valibot';
import { isFunction } from './checks/check-options.js';
import * as kinds from './checks/option-kinds.js';
import type {
  FetchOptions,
  Gateway,
  GatewayLimits,
  GatewayOptions,
  MergedOptions,
  ServerConnectOptions,
  StopOptions,
} from './gateway-api.js';
import { parseSize } from './util/quantity.js';

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
// Everybody without one would be the same caller, whom null or "" names.
const nameOfCaller = v.optional(
  v.pipe(v.string('must be a string'), v.nonEmpty('is empty: leave it out for who has none')),
);
const caller = v.pipe(
  kinds.object("must be an object such as { id: 'ada' }"),
  v.looseObject({ id: nameOfCaller, principal: nameOfCaller }),
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
  capabilities: kinds.object('must be an object'),
  instructions: v.optional(v.string('must be a string')),
  lists: v.record(v.string(), v.array(kinds.object('must be an object'), 'must be an array')),
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
  builtins: kinds.boolean,
  env: v.optional(
    v.custom<object>(
      (input) => isFunction(input) || (typeof input === 'object' && input !== null),
      'must be an object such as process.env, or a function',
    ),
  ),
  onEvent: kinds.optionalFunction,
  authorize: kinds.optionalFunction,
  intercept: kinds.optionalFunction,
  names: kinds.optionalFunction,
  snapshot: v.optional(
    v.pipe(kinds.object('must be an object: JSON.parse() the text of one'), v.record(v.string(), snapshot)),
  ),
  limits: v.optional(
    v.strictObject({ starting: count, instances: count, memory: size } satisfies kinds.Schemas<GatewayLimits>),
  ),
  clock: kinds.clock,
  random: kinds.optionalFunction,
} satisfies kinds.Schemas<GatewayOptions>);

export const serverConnectOptions = v.strictObject({
  caller: v.optional(caller),
  era: v.optional(v.picklist(['legacy', 'modern'])),
} satisfies kinds.Schemas<ServerConnectOptions>);

export const mergedOptions = v.strictObject({
  caller: v.optional(caller),
  servers: kinds.words,
  tags: kinds.words,
} satisfies kinds.Schemas<MergedOptions>);

export const fetchOptions = v.strictObject({
  caller,
  servers: kinds.words,
  tags: kinds.words,
  hosts: kinds.hosts,
  origins: kinds.origins,
} satisfies kinds.Schemas<FetchOptions>);

export const signalOptions = v.strictObject({ signal: kinds.signal } satisfies kinds.Schemas<
  NonNullable<Parameters<Gateway['check']>[1]>
>);

export const stopOptions = v.strictObject({ graceMs: kinds.duration } satisfies kinds.Schemas<StopOptions>);
