import type { GatewayError } from '../../errors.js';
import { toSessionToolsResult } from '../../instance/era/structured-content.js';
import { toErrorResponse } from '../../instance/error-response.js';
import type { Exchange, Response, RpcError } from '../../instance/exchanges.js';
import type { Handshake } from '../../instance/handshake.js';
import { Link, type LinkOwner } from '../../instance/link.js';
import type { LinkTransport } from '../../instance/link-transport.js';
import type { LinkActivity } from '../../instance/link-watch.js';
import type { OnProgress } from '../../instance/task-progress.js';
import type { Clock } from '../../options.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type RequestId,
} from '../../sdk.js';
import { hasEnvelope } from '../../transport/modern.js';
import { readFreshness, toCacheFields } from '../freshness.js';
import { type CallerHandshake, readInitialize } from '../legacy-initialize.js';
import { listKindOf } from '../list-kinds.js';
import type { SendToCaller, SessionPeer } from '../peer.js';
import { ServerRequests } from '../server-requests.js';

type Params = NonNullable<JSONRPCRequest['params']>;

export interface OneServerOptions {
  readonly server: string;
  readonly clock: Clock;
  /** For the answer to `initialize`; undefined where somebody below sees to it that one comes. */
  readonly startTimeoutMs: number | undefined;
  /** A connection that speaks to its caller as servers with sessions do. */
  connect(): LinkTransport;
  /** Why a request that has waited for the server must not go to it after all. */
  refusal(request: JSONRPCRequest): RpcError | undefined;
  /** The server has ended, or could not be started: so does everything that speaks to it. */
  onEnd(reason: GatewayError): void;
}

const invalidRequest = -32600;

/**
 * The session of a caller with one server: names, results and errors are the server's own. It ends with the server.
 */
export class OneServerSession implements SessionPeer, LinkOwner {
  readonly clock: Clock;
  readonly #options: OneServerOptions;
  readonly #send: SendToCaller;
  readonly #link: Link;
  readonly #serverRequests: ServerRequests;
  /** Open requests by the caller's id, with the server's, which `initialize` has not. */
  readonly #open = new Map<RequestId, { linkId: RequestId | undefined }>();
  /** What came before the answer to `initialize`. */
  readonly #early: (() => void)[] = [];
  #isOpen = false;
  #handshake: CallerHandshake | undefined;
  #initializeId: RequestId | undefined;
  /** The server has ended, and the session is about to. */
  #reason: GatewayError | undefined;
  #closed = false;

  constructor(options: OneServerOptions, send: SendToCaller) {
    const { server, clock, startTimeoutMs, connect } = options;
    this.clock = clock;
    this.#options = options;
    this.#send = (...message) => {
      this.#closed || send(...message);
    };
    this.#serverRequests = new ServerRequests(this.#send);
    this.#link = new Link({ server, startTimeoutMs, watch: undefined, isBound: true, connect }, this);
  }

  receive(message: JSONRPCMessage): boolean {
    if (this.#closed) {
      return true;
    }
    if (isResponse(message)) {
      this.#serverRequests.answer(message, (_server, result) => result);
    } else if (!isRequest(message)) {
      this.#notified(message);
    } else if (this.#open.has(message.id)) {
      return false;
    } else if (message.method === 'initialize') {
      this.#initialize(message);
    } else {
      this.#request(message);
    }
    return true;
  }

  serverOf(): string {
    return this.#options.server;
  }

  failAll(reason: GatewayError): void {
    for (const [id, { linkId }] of [...this.#open]) {
      const mayBeKnown = linkId !== undefined && this.#link.giveUp(linkId);
      this.#answer(id, toErrorResponse(id, reason, mayBeKnown ? 'unknown' : false));
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#open.clear();
    await this.#link.close();
  }

  /** @internal */
  activity(): LinkActivity {
    return 'none';
  }

  /** @internal */
  initializeParams(): Params {
    // It opens by the caller's own initialize.
    return (this.#handshake as CallerHandshake).params;
  }

  /** @internal */
  onOpen({ handshake }: Link): void {
    const id = this.#initializeId as RequestId;
    const { result } = handshake as Handshake;
    this.#answer(id, { jsonrpc: '2.0', id, result });
    this.#isOpen = true;
    for (const run of this.#early.splice(0)) {
      run();
    }
  }

  /** @internal */
  onRequest(link: Link, request: JSONRPCRequest, origin: Exchange | undefined): void {
    this.#inTurn(() => this.#serverRequests.receive(link, request, this.#handshake, origin?.callerId));
  }

  /** @internal */
  onNotification(link: Link, message: JSONRPCNotification, origin: Exchange | undefined): void {
    this.#inTurn(() =>
      message.method === 'notifications/cancelled'
        ? this.#serverRequests.cancel(link, message.params)
        : this.#send(message, {
            related: origin?.callerId ?? link.latestCallerId,
            server: link.server,
            isGuess: origin?.callerId === undefined,
          }),
    );
  }

  /** @internal */
  onEnd(link: Link, reason: GatewayError | undefined): void {
    this.#serverRequests.end(link);
    // Why a start has failed, the start itself tells.
    if (this.#isOpen && reason !== undefined) {
      this.#reason = reason;
      this.#options.onEnd(reason);
    }
  }

  #initialize({ id, params }: JSONRPCRequest): void {
    if (this.#handshake !== undefined) {
      return this.#refuse(id, 'the session is initialized already');
    }
    this.#handshake = { ...readInitialize(params), ...(params && { params }) };
    this.#initializeId = id;
    this.#open.set(id, { linkId: undefined });
    this.#link.open().catch((error: GatewayError) => {
      for (const each of [...this.#open.keys()]) {
        this.#answer(each, toErrorResponse(each, error));
      }
      this.#closed || this.#options.onEnd(error);
    });
  }

  #request(request: JSONRPCRequest): void {
    const { id, params } = request;
    if (request.method === 'ping' && !this.#isOpen) {
      return this.#send({ jsonrpc: '2.0', id, result: {} }, { related: id });
    }
    if (this.#handshake === undefined) {
      return this.#refuse(id, `${request.method} came before initialize`);
    }
    const reason = this.#reason;
    if (reason !== undefined) {
      return this.#send(toErrorResponse(id, reason, false), { related: id, server: this.#options.server });
    }
    const open: { linkId: RequestId | undefined } = { linkId: undefined };
    // It may be answered on the spot.
    this.#open.set(id, open);
    // The link changes what it is given.
    open.linkId = this.#link.request(
      { ...request },
      {
        callerId: id,
        refusal: () => this.#options.refusal(request),
        onAnswer: (response) => this.#answer(id, this.#toListResponse(request, response)),
        onProgress: this.#progressOf(id, params?._meta?.progressToken),
      },
    );
  }

  #progressOf(related: RequestId, progressToken: RequestId | undefined): OnProgress | undefined {
    return progressToken === undefined
      ? undefined
      : (params) =>
          this.#send(
            { jsonrpc: '2.0', method: 'notifications/progress', params: { ...params, progressToken } },
            { related, server: this.#options.server },
          );
  }

  #notified(message: JSONRPCNotification): void {
    const { method, params } = message;
    switch (method) {
      case 'notifications/initialized':
        // The link has sent its own.
        return;
      case 'notifications/cancelled': {
        const id = params?.requestId as RequestId;
        const { linkId } = this.#open.get(id) ?? {};
        if (linkId !== undefined) {
          this.#open.delete(id);
          this.#link.cancel(linkId, params);
        }
        return;
      }
      case 'notifications/progress':
        return this.#serverRequests.progress(params);
      case 'notifications/tasks/status':
        return this.#serverRequests.taskChanged(message);
      default:
        this.#link.notify(message);
    }
  }

  /** Says for how long a list is good, to those who have a word for it; others get the tools that they have words for. */
  #toListResponse(request: JSONRPCRequest, response: Response): Response {
    const kind = listKindOf(request.method);
    const { capabilities } = this.#link.handshake ?? {};
    if (kind === undefined || capabilities === undefined || !('result' in response)) {
      return response;
    }
    const { result } = response;
    return hasEnvelope(request)
      ? { ...response, result: { ...result, ...toCacheFields(readFreshness(kind, result, capabilities)) } }
      : { ...response, result: kind === 'tools' ? toSessionToolsResult(result) : result };
  }

  #answer(id: RequestId, response: Response): void {
    if (this.#open.delete(id)) {
      this.#send({ ...response, id }, { related: id, server: this.#options.server });
    }
  }

  #refuse(id: RequestId, message: string): void {
    this.#send({ jsonrpc: '2.0', id, error: { code: invalidRequest, message } }, { related: id });
  }

  #inTurn(run: () => void): void {
    if (this.#isOpen) {
      run();
    } else {
      this.#early.push(run);
    }
  }
}
