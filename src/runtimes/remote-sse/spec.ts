import * as v from 'valibot';
import { headersSchema } from '../shared/http-headers.js';

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

/** The fields of a `remote-sse` runtime in a catalog. */
export const remoteSseSpec = v.strictObject({
  url,
  headers: v.optional(headersSchema),
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
