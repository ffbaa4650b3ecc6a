import { createServer } from 'node:http';
import { getRequestListener } from '@hono/node-server';
import type { Caller, Gateway } from '../../src/index.js';
import { listen } from '../fixtures/http/listen.js';

/** A host of `node:http` that hands every request to `gateway.fetch`, on loopback. */
export async function createFetchHost(
  gateway: Gateway,
  authenticate: (authorization: string | null) => Caller = () => ({ id: 'only' }),
): Promise<AsyncDisposable & { readonly url: string }> {
  const handle = getRequestListener((request) =>
    gateway.fetch(request, { caller: authenticate(request.headers.get('authorization')) }),
  );
  const listening = await listen(createServer(handle));
  return { url: `${listening.origin}/mcp`, [Symbol.asyncDispose]: () => listening.close() };
}
