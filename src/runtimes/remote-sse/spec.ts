import * as v from 'valibot';

const token = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** Names that belong to the protocol or to the connection: a catalog that sets one would break either. */
const reserved =
  /^(?:accept|accept-encoding|connection|content-(?:encoding|length|type)|expect|host|keep-alive|last-event-id|mcp-(?:method|name|param-.*|protocol-version|session-id)|proxy-.*|te|trailer|transfer-encoding|upgrade)$/i;

const url = v.pipe(
  v.string(),
  v.nonEmpty('is empty; name the address of the server'),
  v.check((text) => URL.canParse(text), 'is not a valid URL; write it as https://host/path'),
  v.check(
    (text) => !URL.canParse(text) || /^https?:$/.test(new URL(text).protocol),
    'must begin with https:// or http://',
  ),
  v.check((text) => {
    const parsed = URL.parse(text);
    return parsed === null || (parsed.username === '' && parsed.password === '');
  }, 'holds credentials; give them in headers.Authorization instead'),
);

const headers = v.pipe(
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

/** The fields of a `remote-sse` runtime in a catalog. */
export const remoteSseSpec = v.strictObject({
  url,
  headers: v.optional(headers),
  transport: v.optional(v.picklist(['auto', 'streamable-http', 'sse'])),
});

/** The runtime's part of a `remote-sse` entry. */
export interface RemoteSseSpec {
  /** The address of the server's MCP endpoint. */
  readonly url: string;
  /** Headers of every request to it. */
  readonly headers?: Readonly<Record<string, string>> | undefined;
  /**
   * `streamable-http`, the older `sse` (HTTP+SSE), or `auto`: Streamable HTTP, and HTTP+SSE when the server does not know
   * it.
   *
   * @default 'auto'
   */
  readonly transport?: 'auto' | 'streamable-http' | 'sse' | undefined;
}

/** What a header may hold: no control characters, and nothing outside of Latin-1. */
export function isHeaderValue(value: string): boolean {
  return /^[\t\x20-\x7e\x80-\xff]*$/.test(value);
}

/**
 * Names in lower case, as they are merged; undefined when one is not a header that may be set.
 */
export function toHeaders(given: unknown): Readonly<Record<string, string>> | undefined {
  const result = v.safeParse(headers, given);
  if (!result.success) return undefined;
  return Object.fromEntries(Object.entries(result.output).map(([name, value]) => [name.toLowerCase(), value]));
}
