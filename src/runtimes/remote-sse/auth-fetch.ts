import dns from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import type { Dispatcher } from 'undici';
import { loadUndici } from '../../transport/http/load.js';
import { describeNetworkError } from '../../transport/http/network.js';
import { showUrl } from '../../transport/http/status.js';
import { hostOf } from '../../util/host-of.js';
import { readBody } from '../../util/read-body.js';
import { refusedPort } from '../../util/refused-port.js';

const mostBytes = 1024 * 1024;
const timeoutMs = 30_000;
const mostRedirects = 3;

/**
 * The fetch that authorization uses. Its addresses come from servers, so they are judged: http and https alone, no
 * link-local address (where clouds keep credentials), short bodies, and none of the catalog's headers.
 */
export function createAuthFetch(
  dispatcher: Dispatcher,
  limitMs = timeoutMs,
): (url: string | URL, init?: RequestInit) => Promise<Response> {
  return async (input, init) => {
    const { fetch } = await loadUndici();
    let url = new URL(input);
    for (let hop = 0; ; hop++) {
      await judge(url);
      const signal = AbortSignal.timeout(limitMs);
      const sent = fetch(url, { ...(init as object), dispatcher, redirect: 'manual', signal });
      const answer = await sent.catch((cause: unknown) => {
        if (signal.aborted) throw cause;
        // The SDK takes no other errors for a failure on the way.
        throw new TypeError(`${showUrl(url)}: ${refusedPort(cause, url) ?? describeNetworkError(cause, url)}`, {
          cause,
        });
      });
      const location = answer.status >= 300 && answer.status < 400 ? answer.headers.get('location') : null;
      // Nothing but a question without secrets may be sent on to another address.
      if (location !== null && hop < mostRedirects && (init?.method ?? 'GET') === 'GET') {
        await answer.body?.cancel();
        url = new URL(location, url);
        continue;
      }
      const body = await readBody(answer.body as ReadableStream<Uint8Array> | null, mostBytes, signal);
      if (body === undefined) throw new Error(`an answer of more than ${mostBytes} bytes is refused`);
      const headers = [...answer.headers].filter(([name]) => !/^(?:content-encoding|content-length)$/.test(name));
      const bodyless = answer.status === 204 || answer.status === 304;
      return new Response(bodyless ? null : body, { status: answer.status, statusText: answer.statusText, headers });
    }
  };
}

async function judge(url: URL): Promise<void> {
  if (url.protocol !== 'https:' && url.protocol !== 'http:') {
    throw new Error(`authorization at ${url.protocol} addresses is refused`);
  }
  const host = hostOf(url);
  const addresses =
    isIP(host) === 0 ? await dns.promises.lookup(host, { all: true }).catch(() => []) : [{ address: host }];
  if (addresses.some(({ address }) => isLinkLocal(address))) throw refusal(url.host);
}

function refusal(host: string): Error {
  return new Error(`authorization at ${host} is refused: it is a link-local address`);
}

/** As Node looks a name up to connect to it: it may lead elsewhere by then than when it was judged. */
export const judgedLookup: LookupFunction = (name, options, tell) =>
  dns.lookup(name, options, (error, found, family) => {
    const addresses: readonly (string | dns.LookupAddress)[] = [found ?? []].flat();
    const isBad = addresses.some((one) => isLinkLocal(typeof one === 'string' ? one : one.address));
    tell(isBad ? refusal(name) : error, found, family);
  });

// Rules for IPv4 hold for addresses that are mapped to IPv6 as well.
const linkLocal = new BlockList();
linkLocal.addSubnet('169.254.0.0', 16, 'ipv4');
linkLocal.addSubnet('64:ff9b::a9fe:0', 112, 'ipv6');
linkLocal.addSubnet('fe80::', 10, 'ipv6');
linkLocal.addAddress('fd00:ec2::254', 'ipv6');

function isLinkLocal(address: string): boolean {
  return linkLocal.check(address, isIP(address) === 6 ? 'ipv6' : 'ipv4');
}
