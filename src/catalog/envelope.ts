import * as v from 'valibot';
import { isUnquoted } from '../checks/describe-issue.js';
import { quote } from '../checks/path.js';
import { parseDuration, parseSize } from '../util/quantity.js';

// Timers of Node hold 31 bits of milliseconds.
const longestMs = 24 * 86_400_000;
const smallestMessage = 1024;
const largestMessage = 256 * 1024 ** 2;

const durationExample = '"500ms", "30s", "5m" or "2h"';

// Editors must accept a "${VAR}" too; the check behind the pattern sees only what came out of it.
const durationPattern = /^(?:0|\d{1,12}(?:\.\d{1,3})?(?:ms|s|m|h|d))$|\$\{/;
const sizePattern = /^\d{1,12}(?:\.\d{1,3})?(?:B|KiB|MiB|GiB)$|\$\{/;

/** @param zero - may the duration be 0? */
function duration(zero: boolean) {
  const tooShort = 'must be longer than 0, such as "30s"';
  const orZero = zero ? ', or 0' : '';
  const message = ({ input }: { readonly input: unknown }) => {
    if (input === 0) {
      return tooShort;
    }
    return typeof input === 'number' && input > 0
      ? `must be a duration with its unit, as in "${input}s" or "${input}ms"${orZero}`
      : `must be a duration such as ${durationExample}${orZero}`;
  };
  const text = v.pipe(
    v.string(message),
    v.regex(durationPattern, message),
    v.check((input) => parseDuration(input) !== undefined, message),
    v.check((input) => zero || parseDuration(input) !== 0, tooShort),
    v.check((input) => (parseDuration(input) ?? 0) <= longestMs, 'must not be longer than "24d"'),
  );
  return v.optional(zero ? v.union([v.literal(0), text], message) : text);
}

function size() {
  const tooSmall = 'must be at least "1KiB"';
  const message = ({ input }: { readonly input: unknown }) => {
    if (typeof input !== 'number') {
      return 'must be a size such as "512KiB" or "16MiB"';
    }
    return input < smallestMessage ? tooSmall : `must be a size with its unit, as in "${input}B" or "16MiB"`;
  };
  return v.optional(
    v.pipe(
      v.string(message),
      v.regex(sizePattern, message),
      v.check((input) => parseSize(input) !== undefined, message),
      v.check((input) => (parseSize(input) ?? smallestMessage) >= smallestMessage, tooSmall),
      v.check((input) => (parseSize(input) ?? 0) <= largestMessage, 'must be at most "256MiB"'),
    ),
  );
}

function count(least: number) {
  const message = `must be a whole number, at least ${least}`;
  return v.optional(v.pipe(v.number(message), v.integer(message), v.minValue(least, message)));
}

function words(what: string) {
  return v.optional(v.array(v.pipe(v.string(), v.nonEmpty(`must not be empty: ${what}`))));
}

/** Letters, digits, "_" and "-"; starts with a letter or digit; no "__"; no "_" at the end; at most 48. */
export const idPattern = /^(?!.*__)[a-zA-Z0-9](?:[a-zA-Z0-9_-]{0,46}[a-zA-Z0-9-])?$/;

function idProblem(input: unknown): string {
  if (isUnquoted(input)) {
    return `must be a string: quote it, as in "${String(input)}"`;
  }
  if (typeof input !== 'string') {
    return 'must be a string such as "postgres"';
  }
  if (input.includes('${')) {
    return 'must not hold "${": variables are not replaced in ids';
  }
  if (input.length > 48) {
    return `must be at most 48 characters long, not ${input.length}`;
  }
  if (input.includes('__')) {
    return `must not hold "__", which separates server and tool in the merged names: ${quote(input)}`;
  }
  if (input.endsWith('_')) {
    return `must not end with "_": ${quote(input)}`;
  }
  // It may look like another, or like nothing.
  const odd = [...input].find((character) => character > '\x7f');
  const where = odd && `, where ${quote(odd)} is U+${odd.codePointAt(0)?.toString(16).toUpperCase().padStart(4, '0')}`;
  return `must start with a letter or digit and be made of letters, digits, "_" and "-": ${quote(input)}${where ?? ''}`;
}

const envSchema = v.record(
  v.pipe(
    v.string(),
    v.check(
      (name) => name !== '' && !name.includes('='),
      'the name of an environment variable is not empty and holds no "="',
    ),
  ),
  v.string(),
);

/** The keys of an entry; the body of `runtime` belongs to the runtime. */
export const envelopeSchema = v.strictObject({
  id: v.pipe(
    v.string(({ input }) => idProblem(input)),
    v.regex(idPattern, ({ input }) => idProblem(input)),
  ),
  display_name: v.optional(v.pipe(v.string(), v.nonEmpty('must not be empty: leave it out to show the id'))),
  description: v.optional(v.string()),
  tags: words('a tag is a word'),
  env: v.optional(envSchema),
  runtime: v.looseObject({ type: v.string() }, ({ input, message }) =>
    typeof input === 'string' ? 'must be an object that holds the type, as in { type: docker }, not a string' : message,
  ),
  isolation: v.optional(v.picklist(['caller', 'shared', 'principal', 'request'])),
  idle_timeout: duration(true),
  enabled: v.optional(v.boolean()),
  start_timeout: duration(false),
  pull_timeout: duration(false),
  request_timeout: duration(false),
  on_reload: v.optional(v.picklist(['drain', 'keep', 'now'])),
  restart: v.optional(
    v.strictObject({
      max: count(0),
      window: duration(false),
      backoff: duration(true),
      max_backoff: duration(true),
      cooldown: duration(true),
    }),
  ),
  max_message: size(),
  max_lifetime: duration(true),
  list_timeout: duration(false),
  health: v.optional(v.strictObject({ interval: duration(true), timeout: duration(false), failures: count(1) })),
  protocol: v.optional(v.picklist(['auto', 'legacy', 'modern'])),
  tools: v.optional(v.strictObject({ allow: words('a pattern names tools'), deny: words('a pattern names tools') })),
});

/** A valid entry, all but the body of its `runtime`. */
export type Envelope = v.InferOutput<typeof envelopeSchema>;

/** The keys of a catalog. `$schema` is there for editors. */
export const catalogKeys: readonly string[] = ['servers', '$schema'];
