// #region host
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { createNodeSessions, type Gateway } from 'open-mcp-gateway';

/** A gateway at a URL of this machine, for clients that take no transport. Only who knows the headers gets in. */
export async function openLoopbackHost(gateway: Gateway) {
  const authorization = `Bearer ${randomUUID()}`;
  const sessions = createNodeSessions(
    (settings) => new StreamableHTTPServerTransport(settings),
    (transport, caller) => gateway.serve(transport, { caller }),
    { authenticate: ({ headers }) => (headers.authorization === authorization ? {} : undefined) },
  );
  const server = createServer((request, response) => sessions.handle(request, response));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: new URL(`http://127.0.0.1:${port}/`),
    headers: { authorization },
    async [Symbol.asyncDispose]() {
      server.close();
      await sessions.close();
      server.closeAllConnections();
    },
  };
}
// #endregion host
