import { causesOf, codeOf } from '../../util/causes.js';
import { DialError } from './dial.js';

/** What went wrong on the way to a server, in words that say what to look at. Names no header and no query. */
export function describeNetworkError(error: unknown, url: URL): string {
  const told = causesOf(error).find((cause) => cause instanceof DialError);
  if (told !== undefined) return told.message;
  const code = codeOf(error);
  if (url.protocol === 'https:' && cuts.has(code) && nothingCame(error)) {
    const remedy = 'does it ask for a client certificate? Then give one in the options tls.cert and tls.key';
    return `${url.host} cut the connection before it answered anything; ${remedy} (${code})`;
  }
  if (url.protocol === 'http:' && cuts.has(code) && nothingCame(error)) {
    return `${url.host} cut the connection before it answered anything; is it https instead of http? (${code})`;
  }
  const known = Object.hasOwn(problems, code) ? problems[code] : undefined;
  const proxyUrl = known && proxyOf(error, url);
  if (known !== undefined && proxyUrl !== undefined) {
    return `the proxy cannot be reached: ${known(proxyUrl)} (${code})`;
  }
  if (known !== undefined) return `${known(url)} (${code})`;
  // On a connection that was to end with this answer, the parser finds out that it ended too early.
  if (/\(Invalid EOF state\)/.test(innermostMessage(error))) return `${url.host} cut the connection`;
  if (code.startsWith('HPE_') || (error as Error | undefined)?.name === 'HTTPParserError')
    return `what answers at ${url.host} does not speak HTTP${code === '' ? '' : ` (${code})`}`;
  // OpenSSL spells their names in several ways.
  if (/^ERR_SSL_.*ALERT_CERTIFICATE_REQUIRED$/.test(code)) {
    return `TLS: ${url.host} asks for a client certificate; give one in the options tls.cert and tls.key (${code})`;
  }
  if (/^ERR_SSL_.*ALERT_HANDSHAKE_FAILURE$/.test(code)) {
    return `TLS: ${url.host} refused the handshake; does it ask for a client certificate? (${code})`;
  }
  if (code.startsWith('ERR_SSL_') || code.startsWith('ERR_TLS_')) return `TLS with ${url.host} failed (${code})`;
  const message = innermostMessage(error);
  const proxy = /Proxy response \((\d+)\)/.exec(message)?.[1];
  if (proxy === '407') return 'the proxy asks for credentials (407): put them into the URL of the proxy';
  if (proxy !== undefined) return `the proxy refused the connection (${proxy})`;
  return code === '' ? message : `${message} (${code})`;
}

/** Where a connection was meant to go, when that is not where the request goes. */
function proxyOf(error: unknown, url: URL): URL | undefined {
  const wanted = Number(url.port || (url.protocol === 'https:' ? 443 : 80));
  for (const cause of causesOf(error)) {
    const { address, hostname, port } = cause as { address?: unknown; hostname?: unknown; port?: unknown };
    const host = typeof address === 'string' ? address : hostname;
    const other = port !== undefined ? port !== wanted : hostname !== undefined && hostname !== url.hostname;
    if (typeof host === 'string' && other) {
      const shown = host.includes(':') ? `[${host}]` : host;
      return URL.parse(`http://${shown}${port === undefined ? '' : `:${port}`}`) ?? undefined;
    }
  }
  return undefined;
}

const cuts: ReadonlySet<string> = new Set(['UND_ERR_SOCKET', 'ECONNRESET', 'EPIPE']);

/** With TLS 1.3 a client is through before the server judges its certificate, or that it has none. */
function nothingCame(error: unknown): boolean {
  const errors = causesOf(error) as { readonly socket?: { readonly bytesRead?: number } }[];
  return errors.some(({ socket }) => socket?.bytesRead === 0);
}

const problems: Readonly<Record<string, (url: URL) => string>> = {
  ENOTFOUND: ({ hostname }) => `the name ${hostname} is not known; check the host in url, and DNS`,
  EAI_AGAIN: ({ hostname }) => `the name ${hostname} could not be looked up; is DNS reachable?`,
  ECONNREFUSED: ({ host }) => `nobody listens at ${host}; does the server run, is the port right?`,
  ECONNRESET: ({ host }) => `${host} cut the connection`,
  EPIPE: ({ host }) => `${host} cut the connection`,
  UND_ERR_SOCKET: ({ host }) => `${host} cut the connection`,
  UND_ERR_RES_CONTENT_LENGTH_MISMATCH: ({ host }) => `${host} cut the connection`,
  UND_ERR_CLOSED: () => 'the runtime is closed',
  UND_ERR_DESTROYED: () => 'the runtime is closed',
  UND_ERR_PRX_TLS: () => 'TLS with the proxy failed; check its certificate',
  UND_ERR_CONNECT_TIMEOUT: ({ host }) => `no connection to ${host} within the time allowed; is a firewall in between?`,
  ETIMEDOUT: ({ host }) => `${host} does not answer; is a firewall in between?`,
  EHOSTUNREACH: ({ host }) => `there is no way to ${host}; check the network`,
  ENETUNREACH: ({ host }) => `there is no way to ${host}; check the network`,
  UND_ERR_HEADERS_TIMEOUT: ({ host }) =>
    `${host} sent no answer within the time allowed; is it busy, or does a proxy hold its answer back?`,
  EMFILE: () => 'this process has too many open files; raise the limit (ulimit -n)',
  EADDRNOTAVAIL: ({ host }) => `this machine has no free port, or no address, for a connection to ${host}`,
  CERT_HAS_EXPIRED: ({ host }) => `TLS: the certificate of ${host} has expired; renew it`,
  CERT_NOT_YET_VALID: ({ host }) => `TLS: the certificate of ${host} is not valid yet; check the clocks`,
  DEPTH_ZERO_SELF_SIGNED_CERT: ({ host }) => `TLS: ${host} signed its certificate itself; give it in the option tls.ca`,
  SELF_SIGNED_CERT_IN_CHAIN: ({ host }) =>
    `TLS: the authority that signed the certificate of ${host} is not known; give its certificate in the option tls.ca`,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: ({ host }) =>
    `TLS: the authority that signed the certificate of ${host} is not known; give its certificate in the option tls.ca`,
  UNABLE_TO_GET_ISSUER_CERT: ({ host }) => `TLS: the chain of the certificate of ${host} is not complete`,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: ({ host }) =>
    `TLS: the authority that signed the certificate of ${host} is not known; give its certificate in the option tls.ca`,
  ERR_TLS_CERT_ALTNAME_INVALID: ({ host, hostname }) =>
    `TLS: the certificate of ${host} is not for ${hostname}; use a name that stands in it`,
  ERR_SSL_WRONG_VERSION_NUMBER: ({ host }) => `TLS: ${host} does not speak TLS; is it http instead of https?`,
  ERR_SSL_PACKET_LENGTH_TOO_LONG: ({ host }) => `TLS: ${host} does not speak TLS; is it http instead of https?`,
  EPROTO: ({ host }) => `TLS: ${host} does not speak TLS as we do; is it http instead of https?`,
};

/** What began it says more than what was made of it. */
function innermostMessage(error: unknown): string {
  return causesOf(error).at(-1)?.message ?? String(error);
}
