import type { Connections } from './connections.js';
import { loadUndici } from './load.js';
import { describeNetworkError } from './network.js';
import { showUrl } from './status.js';

const timeoutMs = 10_000;
const retries = 2;

/**
 * Asks whether a server can be reached; undefined when it can. Any answer but 5xx will do, for servers answer a bare GET
 * with all kinds of statuses; 401 and 403 are told apart.
 *
 * @throws `signal.reason` once aborted
 */
export async function findProblem(
  url: URL,
  headers: Readonly<Record<string, string>>,
  // A GET would begin a session with a server of the older kind.
  method: 'get' | 'options',
  connections: Pick<Connections, 'dispatcher'>,
  signal: AbortSignal,
): Promise<string | undefined> {
  signal.throwIfAborted();
  const [{ default: ky }, undici] = await Promise.all([import('ky'), loadUndici()]);
  signal.throwIfAborted();
  const verb = method === 'get' ? 'GET' : 'OPTIONS';
  let last: number | undefined;
  try {
    const answer = await ky(url, {
      method,
      headers: { ...headers, accept: 'application/json, text/event-stream' },
      signal,
      timeout: timeoutMs,
      redirect: 'manual',
      retry: { limit: retries, methods: ['get', 'options'], statusCodes: [500, 502, 503, 504], maxRetryAfter: 2_000 },
      fetch: async (asked) => {
        const { headers: given, signal: until } = asked as Request;
        const options = { method: verb, headers: Object.fromEntries(given), signal: until };
        // As the session itself will: fetch() refuses ports on which servers may well listen.
        const asking = undici.request(url, { ...options, dispatcher: connections.dispatcher });
        const {
          statusCode: status,
          headers,
          body,
        } = await asking.catch((cause: unknown) => {
          // So ky knows what failed on the way, and may pass.
          throw until.aborted ? cause : new TypeError('fetch failed', { cause });
        });
        last = status;
        // Only the status matters: ky judges it, and decides on another try.
        body.on('error', () => {}).destroy();
        const after = headers['retry-after'];
        return new Response(null, {
          status,
          ...(after !== undefined && { headers: { 'retry-after': String(after) } }),
        });
      },
      throwHttpErrors: (status) => status >= 500,
    });
    if (answer.status === 401 || answer.status === 403) {
      return `${showUrl(url)} is reachable but asks for authorization (HTTP ${answer.status}); set headers.Authorization or give an authProvider`;
    }
    return undefined;
  } catch (error) {
    signal.throwIfAborted();
    if (last !== undefined && last >= 500)
      return `${showUrl(url)} answers HTTP ${last}: the server, or a proxy before it, failed`;
    const late = error instanceof Error && error.name === 'TimeoutError';
    return `${showUrl(url)} cannot be reached: ${late ? `no answer within ${timeoutMs} ms` : describeNetworkError(error, url)}`;
  }
}
