import * as v from 'valibot';
import { GatewayError } from '../../errors.js';
import type { Caller, RuntimeContext } from '../../runtime.js';
import { isHeaderValue } from '../../util/header-value.js';

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Names that belong to the protocol or to the connection: a catalog that sets one would break either. */
const reserved =
  /^(?:accept|accept-encoding|connection|content-(?:encoding|length|type)|expect|host|keep-alive|last-event-id|mcp-(?:method|name|param-.*|protocol-version|session-id)|proxy-.*|te|trailer|transfer-encoding|upgrade)$/i;

/** The `headers` of a spec. */
export const headersSchema = v.pipe(
  v.record(
    v.pipe(
      v.string(),
      v.check((name) => token.test(name), 'is not a name that an HTTP header can have'),
      v.check((name) => !reserved.test(name), 'is set by the library itself; leave it out'),
    ),
    v.pipe(v.string(), v.check(isHeaderValue, 'holds a character that no HTTP header can have, such as a line break')),
  ),
  v.check(
    (given) => new Set(Object.keys(given).map((name) => name.toLowerCase())).size === Object.keys(given).length,
    'holds two names that differ only in case',
  ),
);

/** What gives a server and its caller more headers. */
export type HeadersFunction = (
  server: string,
  caller: Caller | undefined,
) => Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>;

/**
 * The headers of each request: those of the spec, and over them those of the host.
 *
 * @throws `GatewayError` `AUTH_FAILED` from what it returns, when the host's function fails
 */
export function createHeaders(
  ofSpec: Readonly<Record<string, string>> | undefined,
  ofHost: HeadersFunction | undefined,
  { server, caller }: Pick<RuntimeContext, 'server' | 'caller'>,
): () => Promise<Readonly<Record<string, string>>> | Readonly<Record<string, string>> {
  const fixed = toHeaders(ofSpec ?? {}) ?? {};
  if (ofHost === undefined) return () => fixed;
  return async () => {
    let given: unknown;
    try {
      given = await ofHost(server, caller);
    } catch (cause) {
      const message = 'the headers function of the host failed';
      throw new GatewayError('AUTH_FAILED', message, { server, cause, delivered: false });
    }
    const valid = toHeaders(given);
    if (valid === undefined) {
      const message =
        'the headers function of the host gave a header that cannot be sent, or that the library sets itself';
      throw new GatewayError('AUTH_FAILED', message, { server, delivered: false });
    }
    return { ...fixed, ...valid };
  };
}

/** Names in lower case, as they are merged; undefined when one is not a header that may be set. */
function toHeaders(given: unknown): Readonly<Record<string, string>> | undefined {
  const result = v.safeParse(headersSchema, given);
  if (!result.success) return undefined;
  return Object.fromEntries(Object.entries(result.output).map(([name, value]) => [name.toLowerCase(), value]));
}
