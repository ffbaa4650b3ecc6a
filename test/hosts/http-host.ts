import { randomUUID } from 'node:crypto';
import { once as event } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { isInitializeRequest } from '@modelcontextprotocol/sdk/types.js';
import { once } from '../../src/util/once.js';

/** A host of MCP sessions over Streamable HTTP, on a free port of the loopback interface. */
export interface HttpHost extends AsyncDisposable {
  /** Where clients connect. */
  readonly url: string;
  /** How many sessions are open. */
  readonly sessionCount: number;
  /** Closes every session, then stops to listen. Whatever serves the sessions stays open. */
  close(): Promise<void>;
}

/** Serves one session on its server-side transport; resolves when the transport has started. */
export type Serve = (transport: StreamableHTTPServerTransport) => Promise<void>;

const path = '/mcp';
const maxRequestBodySize = 32 * 1024 * 1024;

/** The JSON-RPC error body of an HTTP answer that no session gives. */
function refuse(response: ServerResponse, status: number, message: string): void {
  if (response.headersSent) {
    response.destroy();
    return;
  }
  response.writeHead(status, { 'content-type': 'application/json' });
  response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32000, message } }));
}

/** True for requests that a page of another site, whose name was pointed at this machine, cannot make. */
function isLocal(request: IncomingMessage, port: number): boolean {
  const hosts = ['127.0.0.1', 'localhost', '[::1]'].map((name) => `${name}:${port}`);
  const { host, origin } = request.headers;
  if (host === undefined || !hosts.includes(host)) return false;
  return origin === undefined || hosts.some((allowed) => origin === `http://${allowed}`);
}

/** A transport that tells when it was closed from the server's side, leaving `onclose` to whoever serves it. */
class SessionTransport extends StreamableHTTPServerTransport {
  ended: () => void = () => {};

  override async close(): Promise<void> {
    await super.close();
    this.ended();
  }
}

/**
 * Opens a host. Each initialize request begins a session, whose transport is handed to `serve`; a DELETE, the close of
 * the transport and the close of the host end it.
 */
export async function createHttpHost(serve: Serve): Promise<HttpHost> {
  const sessions = new Map<string, SessionTransport>();

  async function beginSession(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body: unknown = await text(request)
      .then(JSON.parse)
      .catch(() => undefined);
    if (!isInitializeRequest(body)) return refuse(response, 400, 'A session begins with an initialize request');

    const id = randomUUID();
    const transport = new SessionTransport({
      sessionIdGenerator: () => id,
      onsessionclosed: () => void sessions.delete(id),
      maxRequestBodySize,
    });
    transport.ended = () => sessions.delete(id);
    sessions.set(id, transport);
    try {
      await serve(transport);
    } catch (error) {
      await transport.close();
      return refuse(response, 500, `The session could not be served: ${String(error)}`);
    }
    if (!server.listening) {
      await transport.close();
      return refuse(response, 503, 'The host is closing');
    }
    await transport.handleRequest(request, response, body);
    // The transport refused the request, for its Accept header perhaps: then no session has begun.
    if (transport.sessionId === undefined) await transport.close();
  }

  async function handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (!isLocal(request, port)) return refuse(response, 403, 'Neither Host nor Origin may name another site');
    if (request.url !== path) return refuse(response, 404, `Only ${path} is served`);

    const id = request.headers['mcp-session-id'];
    if (id === undefined) {
      if (request.method === 'POST') return beginSession(request, response);
      return refuse(response, 400, 'The Mcp-Session-Id header is missing');
    }
    const session = sessions.get(String(id));
    if (session === undefined) return refuse(response, 404, 'Session not found');
    return session.handleRequest(request, response);
  }

  const server = createServer((request, response) => {
    handle(request, response).catch((error: unknown) => refuse(response, 500, String(error)));
  });
  server.listen(0, '127.0.0.1');
  await event(server, 'listening');
  const { port } = server.address() as AddressInfo;

  const close = once(async () => {
    const closed = event(server, 'close');
    server.close();
    await Promise.all([...sessions.values()].map((session) => session.close()));
    // What is left are idle connections, and clients that do not read.
    server.closeAllConnections();
    await closed;
  });

  return {
    url: `http://127.0.0.1:${port}${path}`,
    get sessionCount() {
      return sessions.size;
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}
