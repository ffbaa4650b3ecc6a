import { once as event } from 'node:events';
import { createServer, type IncomingMessage, type ServerOptions, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { NodeStreamableHTTPServerTransport } from '@modelcontextprotocol/node';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js';
import { WebStandardStreamableHTTPServerTransport as WebStandardV2 } from '@modelcontextprotocol/server';
import {
  type Caller,
  createNodeSessions,
  createWebSessions,
  type HttpSessionOptions,
  type NodeSessions,
  type WebSessions,
} from '../../src/index.js';
import type { Transport } from '../../src/sdk.js';
import { once } from '../../src/util/once.js';

/** A host of MCP sessions over Streamable HTTP, on a free port of the loopback interface. */
export interface HttpHost extends AsyncDisposable {
  /** Where clients connect. */
  readonly url: string;
  /** How many sessions are open. */
  readonly sessionCount: number;
  /** How many requests are not at their end. */
  readonly openRequests: number;
  /** Closes every session, then stops to listen. Whatever serves the sessions stays open. */
  close(options?: { readonly graceMs?: number }): Promise<void>;
}

/** Serves one session on its server-side transport; resolves when the transport has started. */
export type Serve = (transport: Transport, caller: Caller) => Promise<void>;

export interface HttpHostOptions extends Omit<HttpSessionOptions<unknown>, 'authenticate'> {
  /** Which transport the sessions have. @default 'ours for node' */
  readonly kind?: TransportKind;
  /** Says who calls, from the Authorization header. */
  readonly authenticate?: (authorization: string | undefined) => Caller | undefined;
  /** Settings of `node:http`. */
  readonly server?: ServerOptions;
}

export const transportKinds = [
  'ours for node',
  'v1 for node',
  'v2 for node',
  'v1 for the web',
  'v2 for the web',
] as const;
export type TransportKind = (typeof transportKinds)[number];

const path = '/mcp';

/** Opens a host. What went wrong on its side is thrown into the test, unless `onError` takes it. */
export async function createHttpHost(serve: Serve, options: HttpHostOptions = {}): Promise<HttpHost> {
  const { sessions, handle } = createSessions(serve, options);
  let openRequests = 0;
  const server = createServer(options.server ?? {}, (request, response) => {
    openRequests += 1;
    if (request.url === path) {
      void handle(request, response);
    } else {
      response.writeHead(404).end();
    }
    response.once('close', () => {
      openRequests -= 1;
    });
  });
  server.listen(0, '127.0.0.1');
  await event(server, 'listening');
  const { port } = server.address() as AddressInfo;

  let graceMs = 0;
  const close = once(async () => {
    const closed = event(server, 'close');
    server.close();
    await sessions.close({ graceMs });
    // What is left are idle connections, and clients that do not read.
    server.closeAllConnections();
    await closed;
  });
  return {
    url: `http://127.0.0.1:${port}${path}`,
    get sessionCount() {
      return sessions.size;
    },
    get openRequests() {
      return openRequests;
    },
    close: (closing) => {
      graceMs = closing?.graceMs ?? 0;
      return close();
    },
    [Symbol.asyncDispose]: close,
  };
}

type Handle = (request: IncomingMessage, response: ServerResponse) => Promise<unknown> | undefined;

function createSessions(
  serve: Serve,
  { kind = 'ours for node', authenticate, server: _ofNode, ...rest }: HttpHostOptions,
): { readonly sessions: NodeSessions | WebSessions; readonly handle: Handle } {
  const options = { maxBodyBytes: 32 * 1024 * 1024, onError: (error: unknown) => void Promise.reject(error), ...rest };
  if (kind.endsWith('node')) {
    const nodeOptions = {
      ...options,
      authenticate: authenticate && (({ headers }: IncomingMessage) => authenticate(headers.authorization)),
    };
    if (kind === 'ours for node') {
      const sessions = createNodeSessions(serve, nodeOptions);
      return { sessions, handle: (request, response) => sessions.handle(request, response) };
    }
    const Transport = kind.startsWith('v1') ? StreamableHTTPServerTransport : NodeStreamableHTTPServerTransport;
    const sessions = createNodeSessions(
      (settings) => new Transport(settings),
      (transport, caller) => serve(transport as Transport, caller),
      nodeOptions,
    );
    return { sessions, handle: (request, response) => sessions.handle(request, response) };
  }
  const Transport = kind.startsWith('v1') ? WebStandardStreamableHTTPServerTransport : WebStandardV2;
  const sessions = createWebSessions(
    (settings) => new Transport(settings),
    (transport, caller) => serve(transport as Transport, caller),
    {
      ...options,
      authenticate: authenticate && (({ headers }) => authenticate(headers.get('authorization') ?? undefined)),
    },
  );
  const handle = getRequestListener((request) => sessions.handle(request), { overrideGlobalObjects: false });
  return { sessions, handle: (request, response) => handle(request, response) as Promise<unknown> | undefined };
}
