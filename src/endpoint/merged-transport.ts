import { GatewayError } from '../errors.js';
import type { RpcError } from '../instance/exchanges.js';
import type { JSONRPCMessage, JSONRPCRequest, MessageExtraInfo, Transport } from '../sdk.js';
import { deliver, runCallback } from '../transport/callback.js';
import { handedOver } from '../transport/handed-over.js';
import { isCallersMessage } from '../transport/json-rpc.js';
import { anyContext, currentContext, type RunInContext } from '../util/async-context.js';
import { once } from '../util/once.js';
import type { Peer, PeerFactory } from './peer.js';

/**
 * What `gateway.connect()` returns: the merged peer as a transport for a client in the same process. It outlives the
 * servers behind it; only `close()`, or the gateway's, ends it. A peer of one server alone ends it with that server.
 * Callbacks run in the async context of `start()`, whoever's turn a server has answered in.
 */
export class MergedTransport implements Transport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  /** @internal Why a request that waits for the one server behind it must not go there after all. */
  refusal: ((request: JSONRPCRequest) => RpcError | undefined) | undefined;

  readonly #endpoint: Peer;
  readonly #open: () => void | Promise<void>;
  readonly #onClosed: (transport: MergedTransport) => void;
  readonly #server: string | undefined;
  readonly #outgoing: JSONRPCMessage[] = [];
  #state: 'new' | 'starting' | 'open' | 'closed' = 'new';
  #sending = false;
  #inContext: RunInContext = anyContext;

  /**
   * @param onClosed - called once, when all its sessions have ended
   * @param open - rejects when the gateway takes no more peers, or what this one needs could not be started
   * @param server - the id of the one server behind it, if there is but one
   */
  constructor(
    create: PeerFactory,
    onClosed: (transport: MergedTransport) => void,
    open: () => void | Promise<void>,
    server?: string,
  ) {
    this.#open = open;
    this.#server = server;
    this.#endpoint = create((message) => this.#deliver(message));
    this.#onClosed = onClosed;
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') {
      throw this.#error('TRANSPORT_CLOSED', 'the transport was started before; call connect() for a new one');
    }
    this.#state = 'starting';
    this.#inContext = currentContext();
    try {
      const opening = this.#open();
      // A start that waits for nothing is done on the spot.
      if (opening !== undefined) {
        await opening;
        this.#assertOpen();
      }
    } catch (error) {
      await this.close();
      throw error;
    }
    this.#state = 'open';
  }

  send(message: JSONRPCMessage): Promise<void> {
    if (this.#state !== 'open') {
      return Promise.reject(this.#notOpen());
    }
    if (!isCallersMessage(message)) {
      return Promise.reject(this.#error('MESSAGE_INVALID', 'this is not a JSON-RPC message'));
    }
    const nested = this.#sending;
    this.#sending = true;
    try {
      if (this.#endpoint.receive(message)) {
        return handedOver;
      }
      const text = `the request id ${JSON.stringify((message as JSONRPCRequest).id)} is in use by an open request`;
      return Promise.reject(this.#error('MESSAGE_INVALID', text));
    } finally {
      this.#sending = nested;
    }
  }

  /** Closes for a reason of ours, with which open requests are answered. */
  end(reason: GatewayError): Promise<void> {
    this.#flush();
    // First of all: who is answered may ask again at once, and would get no answer.
    this.#state = 'closed';
    this.#endpoint.failAll(reason);
    return this.close();
  }

  /** Ends as the server behind it has: `onerror` gets the reason first. */
  fail(reason: GatewayError): void {
    // What is being handed over comes first.
    queueMicrotask(() => {
      if (this.#state !== 'closed') {
        this.#flush();
        this.#state = 'closed';
        this.#endpoint.failAll(reason);
        this.#tell(reason);
        this.close().catch((error) => this.#tell(error));
      }
    });
  }

  readonly close = once(async () => {
    this.#state = 'closed';
    this.#outgoing.length = 0;
    try {
      await this.#endpoint.close();
    } finally {
      this.#onClosed(this);
      this.#inContext(runCallback, this, () => this.onclose?.());
    }
  });

  /** It may have been closed while it started. */
  #assertOpen(): void {
    if (this.#state === 'closed') {
      throw this.#notOpen();
    }
  }

  #notOpen(): GatewayError {
    return this.#state === 'new' || this.#state === 'starting'
      ? this.#error('TRANSPORT_NOT_STARTED', 'call start() before send()')
      : this.#error('TRANSPORT_CLOSED', 'the transport is closed; call connect() for a new one');
  }

  #error(code: GatewayError['code'], message: string): GatewayError {
    return new GatewayError(code, message, { server: this.#server, delivered: false });
  }

  #tell(error: Error): void {
    this.#inContext(runCallback, {}, () => this.onerror?.(error));
  }

  // Never inside the caller's own send(): what is answered on the spot waits for the end of the turn, and so does what
  // comes after it.
  #deliver(message: JSONRPCMessage): void {
    if (!this.#sending && this.#outgoing.length === 0) {
      this.#inContext(deliver, this, message);
    } else if (this.#outgoing.push(message) === 1) {
      queueMicrotask(() => this.#flush());
    }
  }

  #flush(): void {
    // What comes meanwhile lines up behind.
    for (const message of this.#outgoing) {
      this.#inContext(deliver, this, message);
    }
    this.#outgoing.length = 0;
  }
}
