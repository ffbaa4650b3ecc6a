import type { KyInstance } from 'ky';
import { once } from '../../util/once.js';
import type { Connections } from './connections.js';
import { loadUndici } from './load.js';
import { describeNetworkError } from './network.js';
import { showUrl } from './status.js';

const timeoutMs = 10_000;
const retries = 2;

const loadKy = once(async (): Promise<KyInstance> => (await import('ky')).default);

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
  const [ky, { fetch }] = await Promise.all([loadKy(), loadUndici()]);
  signal.throwIfAborted();
  let last: number | undefined;
  try {
    const answer = await ky(url, {
      method,
      headers: { ...headers, accept: 'application/json, text/event-stream' },
      signal,
      timeout: timeoutMs,
      redirect: 'manual',
      retry: { limit: retries, methods: ['get', 'options'], statusCodes: [500, 502, 503, 504], maxRetryAfter: 2_000 },
      // ky gives a Request of the global fetch, which undici's own does not take.
      fetch: async (request) => {
        const { url: to, method: verb, headers: with_, signal: until } = request as Request;
        const answered = await fetch(to, {
          method: verb,
          headers: Object.fromEntries(with_),
          signal: until,
          redirect: 'manual',
          dispatcher: connections.dispatcher,
        });
        last = answered.status;
        await answered.body?.cancel();
        // Only the status matters: ky judges it, and decides on another try.
        return new Response(null, { status: answered.status, headers: [...answered.headers] });
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
