import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { McpServer } from '@modelcontextprotocol/sdk/server/mcp.js';
import { SSEServerTransport } from '@modelcontextprotocol/sdk/server/sse.js';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { z } from 'zod';

/**
 * Two servers that run somewhere already, as far as the gateway is concerned: here on loopback. One speaks Streamable HTTP
 * and wants a token, the other HTTP+SSE, which came before it.
 */
export async function startRemoteServers(token: string) {
  const streamable = new Map<string, StreamableHTTPServerTransport>();
  const older = new Map<string, SSEServerTransport>();

  async function overStreamableHttp(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.headers.authorization !== `Bearer ${token}`) {
      response.writeHead(401).end();
      return;
    }
    let transport = streamable.get(String(request.headers['mcp-session-id']));
    if (transport === undefined) {
      const created = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (id) => void streamable.set(id, created),
        onsessionclosed: (id) => void streamable.delete(id),
      });
      transport = created;
      await createUnits().connect(created);
    }
    await transport.handleRequest(request, response);
  }

  async function overHttpAndSse(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    if (request.method === 'GET') {
      const transport = new SSEServerTransport('/sse', response);
      older.set(transport.sessionId, transport);
      response.once('close', () => older.delete(transport.sessionId));
      await createWords().connect(transport);
      return;
    }
    const transport = older.get(url.searchParams.get('sessionId') ?? '');
    if (transport === undefined) response.writeHead(404).end();
    else await transport.handlePostMessage(request, response);
  }

  const server = createServer(async (request, response) => {
    const url = new URL(request.url ?? '/', 'http://localhost');
    if (url.pathname === '/mcp') await overStreamableHttp(request, response);
    else if (url.pathname === '/sse') await overHttpAndSse(request, response, url);
    else response.writeHead(404).end();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    streamableUrl: `${origin}/mcp`,
    sseUrl: `${origin}/sse`,
    /** How many sessions are open. */
    sessions: () => streamable.size + older.size,
    /** Resolves when every client has gone: nobody is thrown out. */
    async close() {
      server.close();
      await once(server, 'close');
    },
  };
}

function createUnits(): McpServer {
  const server = new McpServer({ name: 'units', version: '1.0.0' });
  const inputSchema = { celsius: z.number() };
  server.registerTool('fahrenheit', { description: 'Degrees Fahrenheit', inputSchema }, ({ celsius }) => ({
    content: [{ type: 'text', text: String(celsius * 1.8 + 32) }],
  }));
  return server;
}

function createWords(): McpServer {
  const server = new McpServer({ name: 'words', version: '1.0.0' });
  const inputSchema = { text: z.string() };
  server.registerTool('count', { description: 'How many words a text has', inputSchema }, ({ text }) => ({
    content: [{ type: 'text', text: String(text.split(/\s+/).filter(Boolean).length) }],
  }));
  return server;
}
