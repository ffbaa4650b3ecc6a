import { once as event } from 'node:events';
// Loaded in real time when it is first needed, for which a clock that stands still does not wait.
import '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { StreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import { WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/sdk/server/webStandardStreamableHttp.js';
import {
  type Caller,
  createNodeSessions,
  createWebSessions,
  type Gateway,
  type SessionTransportSettings,
} from '../../../src/index.js';
import type { Transport } from '../../../src/sdk.js';
import type { FakeClock } from '../../support/fake-clock.js';
import type { PlayedEvents } from './played-events.js';

export const hostKinds = ['node', 'fetch', 'SDK for node', 'SDK for the web'] as const;
export type HostKind = (typeof hostKinds)[number];

export const mostSessions = 4;
/** Of a body, where the host may say so. */
export const mostBytes = 200_000;

export interface PlayedHost {
  readonly kind: HostKind;
  readonly port: number;
  /** Whether it answers the stateless era. */
  readonly isDual: boolean;
  /** Whether requests come by an adapter to `Request` and `Response`, which the SDK's transport for node has in it. */
  readonly hasAdapter: boolean;
  /** Whether clients may come back for what they have missed. */
  readonly isResumable: boolean;
  /** Whether sessions have the transport of somebody else, which keeps less of what this library promises. */
  readonly isForeign: boolean;
  /** The ends of connections. */
  readonly sockets: ReadonlySet<Socket>;
  /** Changes with whatever comes to the host or ends there. */
  readonly activity: number;
  readonly sessionCount: number;
  /** Requests whose response has not ended. */
  readonly openRequests: number;
  /** Of one response, at most, that its client has not read. */
  readonly unreadBytes: number;
  closeSessions(graceMs: number): Promise<void>;
  /** Ends what connections are left, and stops to listen. */
  closeServer(): Promise<void>;
}

type Answered<T> = T | Promise<T>;

const noSession = 'this session is not served';

/** The program cannot serve a session that these begin, with the numbers of the request in their data. */
function failsToBegin({ data }: Caller): boolean {
  return isUnserved(Number((data as { readonly numbers?: unknown } | undefined)?.numbers));
}

export function isUnserved(number: number): boolean {
  return number % 11 === 7;
}

export interface PlayedHostOptions {
  readonly kind: HostKind;
  readonly gateway: Gateway;
  readonly clock: FakeClock;
  readonly events: PlayedEvents;
  /** Who sends a request, by two of its headers. */
  authenticate(authorization: string | null, numbers: string | null): Caller | undefined;
  problem(text: string): void;
}

/** Opens a host of one kind, as a program has it, on a free port. */
export async function openHost({
  kind,
  gateway,
  clock,
  events,
  authenticate,
  problem,
}: PlayedHostOptions): Promise<PlayedHost> {
  const onError = (error: unknown) => {
    if ((error as Error)?.message !== noSession) {
      problem(`the host failed: ${String((error as Error)?.stack ?? error)}`);
    }
  };
  const limits = { clock, maxSessions: mostSessions, maxBodyBytes: mostBytes, onError };
  const ofNode = ({ headers }: IncomingMessage) =>
    ask(headers.authorization ?? null, headers['x-numbers']?.toString() ?? null);
  const ofWeb = ({ headers }: Request) => ask(headers.get('authorization'), headers.get('x-numbers'));
  /** Some programs have to look up who it is. Requests alone: what else is sent is expected to come in order. */
  const ask = (authorization: string | null, numbers: string | null): Answered<Caller | undefined> => {
    const caller = authenticate(authorization, numbers);
    return Number.parseInt(numbers ?? '', 10) % 3 === 0 ? later(caller) : caller;
  };
  /** Late enough for a client to leave meanwhile. */
  const later = async <T>(value: T): Promise<T> => {
    for (let turn = 0; turn < 3; turn += 1) {
      await new Promise<void>((resolve) => setImmediate(resolve));
      activity += 1;
    }
    return value;
  };
  const serve = async (transport: unknown, caller: Caller) => {
    if (failsToBegin(caller)) throw new Error(noSession);
    await gateway.serve(transport as Transport, { caller });
  };
  const sockets = new Set<Socket>();
  let activity = 0;
  const responses = new Set<ServerResponse>();

  const { sessions, handle } = create();
  const server = createServer((request, response) => {
    activity += 1;
    responses.add(response);
    response.once('close', () => {
      activity += 1;
      responses.delete(response);
    });
    Promise.resolve(handle(request, response)).catch(onError);
  });
  server.on('connection', (socket) => {
    sockets.add(socket);
    socket.once('close', () => {
      activity += 1;
      sockets.delete(socket);
    });
  });
  server.listen(0, '127.0.0.1');
  await event(server, 'listening');
  return {
    kind,
    port: (server.address() as AddressInfo).port,
    isDual: kind === 'fetch',
    isResumable: kind.startsWith('SDK'),
    hasAdapter: kind !== 'node',
    isForeign: kind.startsWith('SDK'),
    sockets,
    get activity() {
      return activity;
    },
    get sessionCount() {
      return sessions?.size ?? 0;
    },
    get openRequests() {
      return responses.size;
    },
    get unreadBytes() {
      return Math.max(0, ...[...responses].map(({ writableLength }) => writableLength));
    },
    async closeSessions(graceMs) {
      await sessions?.close({ graceMs });
    },
    async closeServer() {
      const closed = event(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };

  function create() {
    switch (kind) {
      case 'node': {
        const own = createNodeSessions(serve, { ...limits, authenticate: ofNode });
        return { sessions: own, handle: own.handle };
      }
      case 'SDK for node': {
        const node = createNodeSessions(
          (settings) => new StreamableHTTPServerTransport(withEvents(settings)) as never,
          serve,
          {
            ...limits,
            authenticate: ofNode,
          },
        );
        return { sessions: node, handle: node.handle };
      }
      case 'SDK for the web': {
        const web = createWebSessions(
          (settings) => new WebStandardStreamableHTTPServerTransport(withEvents(settings)) as never,
          serve,
          { ...limits, authenticate: ofWeb },
        );
        return { sessions: web, handle: toNode((request) => web.handle(request)) };
      }
      default: {
        const answer = async (request: Request): Promise<Response> => {
          const caller = await ofWeb(request);
          return caller === undefined ? new Response(null, { status: 401 }) : gateway.fetch(request, { caller });
        };
        return { sessions: undefined, handle: toNode(answer) };
      }
    }
  }

  function withEvents(settings: SessionTransportSettings) {
    return { ...settings, eventStore: events.createStore() };
  }

  function toNode(answer: (request: Request) => Response | Promise<Response>) {
    // What is thrown is a fault of the host, and none of the adapter.
    const errorHandler = (error: unknown) => {
      onError(error);
      return new Response(null, { status: 500 });
    };
    const listener = getRequestListener(answer, { overrideGlobalObjects: false, errorHandler });
    return (request: IncomingMessage, response: ServerResponse) => listener(request, response) as Promise<void>;
  }
}
