import { eitherSignal } from '../util/abort.js';
import { readBody } from '../util/read-body.js';
import { refusedPort } from '../util/refused-port.js';
import { largestText } from './decode.js';
import { catalogError } from './issues.js';

/** How a catalog is fetched. */
export interface FetchOptions {
  readonly headers?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** What a URL has answered. */
export interface FetchedText {
  readonly bytes: Uint8Array;
  readonly format: 'yaml' | 'json';
  /** By which the next question says what is known already. */
  readonly etag: string | undefined;
}

const timeoutMs = 10_000;
const retries = 2;
// A server may ask for an hour.
const longestWaitMs = 2_000;

/** The URL as it may be shown: without what may be a password or a token. */
export function toShown({ origin, pathname }: URL): string {
  return origin + pathname;
}

/**
 * Fetches the text of a catalog: over https, and over http from this machine only. Tries again after what may pass.
 *
 * @param etag - of what is known already
 * @returns undefined when that is still what there is
 * @throws `GatewayError` `CATALOG_INVALID`; `signal.reason` once aborted
 */
export async function fetchText(
  url: URL,
  { headers, signal }: FetchOptions,
  etag?: string,
): Promise<FetchedText | undefined> {
  if (url.protocol !== 'https:' && !isLoopback(url.hostname)) {
    throw problem(url, 'is not fetched over http, which anybody on the way can change: use https');
  }
  if (url.username !== '' || url.password !== '') {
    throw problem(url, 'is not fetched from a URL with a password in it: use the option headers');
  }
  const never = new AbortController().signal;
  // Of this time alone: that of who watches lives long.
  const either = eitherSignal(signal ?? never, never);
  try {
    return await fetchOnce(url, headers, either.signal, etag);
  } finally {
    either.release();
  }
}

async function fetchOnce(
  url: URL,
  headers: FetchOptions['headers'],
  signal: AbortSignal,
  etag: string | undefined,
): Promise<FetchedText | undefined> {
  const { default: ky, isHTTPError } = await import('ky');
  let response: Response;
  try {
    response = await ky.get(url, {
      headers: {
        accept: 'application/yaml, application/json, text/*',
        ...headers,
        ...(etag && { 'if-none-match': etag }),
      },
      // To another place the headers must not go, and nobody has said that it may be trusted.
      redirect: 'manual',
      timeout: timeoutMs,
      retry: { limit: retries, maxRetryAfter: longestWaitMs },
      signal,
    });
  } catch (error) {
    signal.throwIfAborted();
    if (!isHTTPError(error)) {
      // Not the error itself: it holds the URL and the headers.
      throw problem(url, `cannot be fetched: ${refusedPort(error, url) ?? reasonOf(error)}`, (error as Error).cause);
    }
    const { status } = error.response;
    if (status === 304 && etag !== undefined) {
      return undefined;
    }
    const remedy = status >= 300 && status < 400 ? ': redirects are not followed, use the URL that it leads to' : '';
    throw problem(url, `cannot be fetched: it was answered with HTTP ${status}${remedy}`);
  }
  const bytes = await read(url, response, signal);
  const isJson = /[/+]json\b/i.test(response.headers.get('content-type') ?? '') || /\.json$/i.test(url.pathname);
  return {
    bytes,
    format: isJson ? 'json' : 'yaml',
    etag: response.headers.get('etag') ?? undefined,
  };
}

async function read(url: URL, response: Response, signal: AbortSignal): Promise<Uint8Array> {
  const late = new AbortController();
  const timer = setTimeout(() => late.abort(new DOMException('the body does not end', 'TimeoutError')), timeoutMs);
  const either = AbortSignal.any([signal, late.signal]);
  let bytes: Uint8Array | undefined;
  try {
    bytes = await readBody(response.body, largestText, either);
  } catch (error) {
    signal.throwIfAborted();
    throw problem(url, `cannot be read: ${reasonOf(error)}`, error);
  } finally {
    clearTimeout(timer);
  }
  if (bytes === undefined) {
    throw problem(url, 'is larger than 1 MiB: split it');
  }
  return bytes;
}

function isLoopback(hostname: string): boolean {
  return hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname);
}

/** Without the text of the error, which may hold the URL. */
function reasonOf(error: unknown): string {
  const { name, cause } = error as { name?: string; cause?: { code?: string; cause?: { code?: string } } };
  const code = cause?.code ?? cause?.cause?.code;
  if (name === 'TimeoutError') return `there was no answer within ${timeoutMs} ms`;
  if (code === undefined) return name ?? 'it failed';
  return Object.hasOwn(remedies, code) ? `${remedies[code]} (${code})` : code;
}

const untrusted = 'its certificate is not trusted; give that of its authority to Node in NODE_EXTRA_CA_CERTS';

const remedies: Readonly<Record<string, string>> = {
  ENOTFOUND: 'its name is not known; check the host, and DNS',
  EAI_AGAIN: 'its name could not be looked up; is DNS reachable?',
  ECONNREFUSED: 'nobody listens there; check the host and the port',
  ECONNRESET: 'it cut the connection',
  UND_ERR_SOCKET: 'it cut the connection',
  UND_ERR_CONNECT_TIMEOUT: 'it does not answer; is a firewall or a proxy in between?',
  CERT_HAS_EXPIRED: 'its certificate has expired; renew it',
  DEPTH_ZERO_SELF_SIGNED_CERT: untrusted,
  SELF_SIGNED_CERT_IN_CHAIN: untrusted,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: untrusted,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: untrusted,
  ERR_TLS_CERT_ALTNAME_INVALID: 'its certificate is for another name; use a name that stands in it',
};

function problem(url: URL, message: string, cause?: unknown) {
  return catalogError([{ path: '', message }], toShown(url), cause);
}
