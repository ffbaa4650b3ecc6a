import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type JSONRPCNotification,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
  type Transport,
} from '../sdk.js';
import { runCallback } from '../transport/callback.js';
import { metaKeys } from '../transport/modern.js';
import type { RelatedInfo } from '../transport/related-info.js';
import { withoutTasks } from '../transport/tasks.js';
import { allStopped } from '../util/all-stopped.js';
import { isFields } from '../util/fields.js';
import { once } from '../util/once.js';
import { toErrorResponse } from './error-response.js';
import type { Response, RpcError } from './exchanges.js';
import { Link, type LinkOptions, type LinkOwner } from './link.js';
import type { LinkActivity } from './link-watch.js';
import { listChanges } from './list-changes.js';
import { tellLogLevel } from './tell-log-level.js';

type Params = NonNullable<JSONRPCRequest['params']>;

/**
 * A connection to an entry with `isolation: request`: each request gets a fresh instance, which ends with the answer. The
 * instance of the handshake serves the first request. Nothing outlives a request: there are no subscriptions and no tasks.
 */
export class RequestTransport implements Transport, LinkOwner {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: (<T extends JSONRPCMessage>(message: T, extra?: MessageExtraInfo) => void) | undefined;

  /** @internal Why a request that waits for its instance must not go to it after all. */
  refusal: ((request: JSONRPCRequest) => RpcError | undefined) | undefined;

  readonly clock: Clock;
  readonly #options: LinkOptions;
  /** Each with the request that it is for, once there is one. */
  readonly #links = new Map<Link, RequestId | undefined>();
  readonly #open = new Map<RequestId, { link: Link; linkId?: RequestId | undefined }>();
  readonly #serverRequests = new Map<RequestId, { link: Link; id: RequestId; progressToken: RequestId | undefined }>();
  /** The ends of instances that nobody waits for any more. */
  readonly #endings = new Set<Promise<void>>();
  #fresh: Link | undefined;
  #initializeParams: Params = {};
  /** From which level on the caller wants to read the log, of every instance. */
  #level: Params | undefined;
  #nextServerRequest = 1;
  #state: 'new' | 'open' | 'closed' = 'new';

  constructor(options: LinkOptions, clock: Clock) {
    this.#options = options;
    this.clock = clock;
  }

  async start(): Promise<void> {
    if (this.#state !== 'new') {
      throw new GatewayError('TRANSPORT_CLOSED', 'the transport was started before');
    }
    this.#state = 'open';
  }

  async send(message: JSONRPCMessage): Promise<void> {
    if (this.#state !== 'open') {
      throw new GatewayError('TRANSPORT_CLOSED', 'the transport is not open', { delivered: false });
    }
    if (isResponse(message)) {
      const asked = this.#serverRequests.get(message.id as RequestId);
      this.#serverRequests.delete(message.id as RequestId);
      asked?.link.notify({ ...message, id: asked.id });
    } else if (!isRequest(message)) {
      this.#notify(message);
    } else if (message.method === 'initialize') {
      this.#initialize(message);
    } else if (message.method === 'logging/setLevel') {
      this.#setLevel(message);
    } else if (message.method === 'resources/subscribe') {
      this.#refuse(message, -32601, 'nothing can be subscribed to');
    } else if (message.params?.task !== undefined) {
      this.#refuse(message, -32602, 'nothing can run as a task');
    } else {
      this.#request(message);
    }
  }

  readonly close = once(async () => {
    this.#state = 'closed';
    this.#open.clear();
    try {
      await allStopped([...[...this.#links.keys()].map((link) => link.close()), ...this.#endings]);
    } finally {
      // Who waits for the answer to `initialize` hears by this that none comes.
      runCallback({}, () => this.onclose?.());
    }
  });

  /** @internal */
  activity(): LinkActivity {
    return 'none';
  }

  /** @internal */
  initializeParams(): Params {
    return this.#initializeParams;
  }

  /** @internal */
  onOpen(link: Link): void {
    tellLogLevel(link, this.#level);
  }

  /** @internal */
  onRequest(link: Link, request: JSONRPCRequest): void {
    const id = this.#nextServerRequest++;
    const progressToken = request.params?._meta?.progressToken;
    this.#serverRequests.set(id, { link, id: request.id, progressToken });
    const asked = { ...request, id };
    if (progressToken !== undefined) {
      // Another instance may have the same one.
      asked.params = { ...request.params, _meta: { ...request.params?._meta, progressToken: id } };
    }
    this.#deliver(asked, this.#relatedTo(link));
  }

  /** @internal */
  onNotification(link: Link, message: JSONRPCNotification): void {
    if (message.method === 'notifications/cancelled') {
      this.#withdraw(link, message.params);
    } else if (!listChanges.has(message.method)) {
      // Its lists end with it: whoever asked for them again would ask the next instance, which may say so as well, and so on.
      this.#deliver(message, this.#relatedTo(link));
    }
  }

  /** @internal */
  onEnd(link: Link): void {
    this.#takeBackAll(link);
    // Else the next server gets its request.
    link.isWaitedFor || this.#links.delete(link);
  }

  #initialize({ id, params }: JSONRPCRequest): void {
    this.#initializeParams = params ?? {};
    const link = this.#take();
    link.open().then(
      ({ result, capabilities }) => {
        this.#fresh = link;
        const offered = withoutListChanges(withoutTasks(capabilities));
        this.#deliver({ jsonrpc: '2.0', id, result: { ...result, capabilities: offered } });
      },
      (error: GatewayError) => {
        this.#end(link);
        this.#deliver(toErrorResponse(id, error));
      },
    );
  }

  /** Instances come and go: each that opens later is told too. */
  #setLevel({ id, params }: JSONRPCRequest): void {
    this.#level = params;
    for (const link of this.#links.keys()) {
      tellLogLevel(link, this.#level);
    }
    this.#answerLater({ jsonrpc: '2.0', id, result: {} });
  }

  #refuse({ id }: JSONRPCRequest, code: number, what: string): void {
    const message = `${what} with isolation: request, as each instance ends with its request`;
    this.#answerLater({ jsonrpc: '2.0', id, error: { code, message } });
  }

  /** Never inside the caller's own `send`. */
  #answerLater(response: Response): void {
    queueMicrotask(() => this.#deliver(response));
  }

  #request(request: JSONRPCRequest): void {
    const link = this.#take();
    const open: { link: Link; linkId?: RequestId | undefined } = { link };
    // Before it is sent: a server that is being stopped refuses at once.
    this.#open.set(request.id, open);
    this.#links.set(link, request.id);
    const finish = (response: Response) => {
      if (this.#open.get(request.id) === open) {
        this.#open.delete(request.id);
        this.#deliver({ ...response, id: request.id });
      }
      this.#end(link);
    };
    const progressToken = request.params?._meta?.progressToken;
    // The link changes what it is given.
    const copy = forOneRequest(request);
    open.linkId = link.request(copy, {
      callerId: request.id,
      refusal: () => this.refusal?.(request),
      onAnswer: finish,
      onProgress: (params) =>
        progressToken !== undefined &&
        this.#deliver({ jsonrpc: '2.0', method: 'notifications/progress', params: { ...params, progressToken } }),
    });
  }

  #notify(message: JSONRPCNotification): void {
    switch (message.method) {
      case 'notifications/cancelled':
        return this.#cancel(message.params);
      case 'notifications/progress': {
        const { link, progressToken } = this.#serverRequests.get(message.params?.progressToken as RequestId) ?? {};
        return progressToken === undefined
          ? undefined
          : link?.notify({ ...message, params: { ...message.params, progressToken } });
      }
      case 'notifications/roots/list_changed':
        for (const link of this.#links.keys()) {
          link.tell(message);
        }
        return;
      default:
      // Others name no instance.
    }
  }

  #cancel(params: Params | undefined): void {
    const open = this.#open.get(params?.requestId as RequestId);
    if (open?.linkId !== undefined) {
      this.#open.delete(params?.requestId as RequestId);
      open.link.cancel(open.linkId, params);
      // Nobody waits for what it does: it ends at once.
      this.#end(open.link);
    }
  }

  #take(): Link {
    const fresh = this.#fresh;
    this.#fresh = undefined;
    if (fresh?.handshake !== undefined) {
      return fresh;
    }
    const link = new Link(this.#options, this);
    this.#links.set(link, undefined);
    return link;
  }

  #end(link: Link): void {
    this.#links.delete(link);
    this.#takeBackAll(link);
    const ending = link
      .close()
      .catch((error) => runCallback({}, () => this.onerror?.(error)))
      .finally(() => this.#endings.delete(ending));
    this.#endings.add(ending);
  }

  #takeBackAll(link: Link): void {
    for (const [id, asked] of this.#serverRequests) {
      if (asked.link === link) {
        this.#takeBack(id, { reason: `the server "${link.server}" has ended` });
      }
    }
  }

  /** An instance no longer waits for an answer. Others may have asked under the same id. */
  #withdraw(link: Link, params: Params | undefined): void {
    for (const [id, asked] of this.#serverRequests) {
      if (asked.link === link && asked.id === params?.requestId) {
        this.#takeBack(id, params);
        return;
      }
    }
  }

  #takeBack(requestId: RequestId, params: Params): void {
    this.#serverRequests.delete(requestId);
    this.#deliver({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { ...params, requestId } });
  }

  /** What an instance says belongs to its one request. */
  #relatedTo(link: Link): RelatedInfo {
    return { relatedRequestId: this.#links.get(link) };
  }

  #deliver(message: JSONRPCMessage, extra?: RelatedInfo): void {
    if (this.#state === 'open') {
      runCallback(this, () => this.onmessage?.(message, extra));
    }
  }
}

/** A stateless server would make a task of it, which ended with the answer that tells of it. */
function forOneRequest(request: JSONRPCRequest): JSONRPCRequest {
  const { _meta, ...params }: Params = request.params ?? {};
  const capabilities = _meta?.[metaKeys.clientCapabilities];
  return isFields(capabilities)
    ? {
        ...request,
        params: { ...params, _meta: { ..._meta, [metaKeys.clientCapabilities]: withoutTasks(capabilities) } },
      }
    : { ...request };
}

/** An instance that ends with its request tells of none, whatever it promises. */
function withoutListChanges(capabilities: Params): Params {
  return Object.fromEntries(
    Object.entries(capabilities).map(([name, declared]) => {
      const { listChanged: _, ...rest } = isFields(declared) ? declared : {};
      return [name, isFields(declared) ? rest : declared];
    }),
  );
}
