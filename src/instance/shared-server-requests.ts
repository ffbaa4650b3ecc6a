import { errorNumbers } from '../errors.js';
import type { Clock } from '../options.js';
import type { JSONRPCNotification, JSONRPCRequest, RequestId } from '../sdk.js';
import { findNamed } from '../transport/json-rpc.js';
import type { Exchange, Response } from './exchanges.js';
import type { Link } from './link.js';
import { deliverTo, type SharedConnections } from './shared-connections.js';
import { SharedTasks } from './shared-tasks.js';
import type { SharedTransport } from './shared-transport.js';

/** A request of the server, by the ids that the server and the caller know it by. */
interface ServerRequest {
  readonly id: RequestId;
  readonly callersId: RequestId;
  readonly to: SharedTransport;
}

// A server that asks without end must not fill the caller's memory or ours.
export const mostServerRequests = 1_000;

// Of all sessions: a connection may move from one to another, and its answer to the first must not count for the second.
let lastServerRequest = 0;

/** The requests of a server to the connections of its one caller: leads each to one of them, and the answer back. */
export class SharedServerRequests {
  readonly #link: Link;
  readonly #connections: SharedConnections;
  readonly #open = new Map<RequestId, ServerRequest>();
  /** Tasks that a connection runs for the server. */
  readonly #tasks: SharedTasks<SharedTransport>;

  constructor(link: Link, connections: SharedConnections, clock: Clock) {
    this.#link = link;
    this.#connections = connections;
    this.#tasks = new SharedTasks(clock);
  }

  /** Whether a connection still owes the server an answer. */
  get any(): boolean {
    return this.#open.size > 0;
  }

  /** @param origin - the request of a connection that it belongs to, when that is known */
  receive(request: JSONRPCRequest, origin: Exchange | undefined): void {
    const runner = request.method.startsWith('tasks/') && this.#tasks.ownerOf(request.params?.taskId);
    const to = runner || this.#connections.whoAnswers(request.method, origin);
    if (to === undefined) {
      this.refuse(request.id, -32603, 'the client has disconnected');
      return;
    }
    if (this.#open.size >= mostServerRequests) {
      this.refuse(request.id, errorNumbers.LIMIT_REACHED, `${mostServerRequests} requests wait for the client already`);
      return;
    }
    lastServerRequest += 1;
    const id = lastServerRequest;
    this.#open.set(id, { id: request.id, callersId: id, to });
    deliverTo(to, { ...request, id }, origin);
  }

  refuse(id: RequestId, code: number, message: string): void {
    this.#link.notify({ jsonrpc: '2.0', id, error: { code, message } });
  }

  /** Leads an answer back; one that nobody waits for goes nowhere. */
  answer(from: SharedTransport, response: Response): void {
    // All of ours are numbers, which a client may write as texts.
    const open = findNamed(this.#open, response.id);
    if (open?.to === from) {
      this.#open.delete(open.callersId);
      if ('result' in response) {
        this.#tasks.see(from, response.result);
      }
      this.#link.notify({ ...response, id: open.id });
    }
  }

  /** The server no longer waits for an answer: tells the connection that was asked, under the id that it knows. */
  withdraw(message: JSONRPCNotification): void {
    for (const [requestId, { id, to }] of this.#open) {
      if (id === message.params?.requestId) {
        this.#open.delete(requestId);
        to.deliver({ ...message, params: { ...message.params, requestId } });
        return;
      }
    }
  }

  /** A connection has gone, and will not answer. */
  leave(transport: SharedTransport): void {
    this.#tasks.forget(transport);
    for (const [id, request] of this.#open) {
      if (request.to === transport) {
        this.#open.delete(id);
        this.refuse(request.id, -32603, 'the client has disconnected');
      }
    }
  }

  /** The server has ended, or will before anybody could answer it. */
  end(): void {
    for (const [requestId, { to }] of this.#open) {
      const params = { requestId, reason: `the server "${this.#link.server}" has ended` };
      to.deliver({ jsonrpc: '2.0', method: 'notifications/cancelled', params });
    }
    this.#open.clear();
    this.#tasks.clear();
  }
}
