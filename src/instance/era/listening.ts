import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import type { JSONRPCNotification, RequestId } from '../../sdk.js';
import { mayPass } from '../../transport/http/status.js';
import { findNamed } from '../../transport/json-rpc.js';
import { metaKeys, streamOf } from '../../transport/modern.js';
import { type Fields, isFields } from '../../util/fields.js';
import { Timers } from '../../util/timers.js';
import { toRpcError } from '../error-response.js';
import type { Response, RpcError } from '../exchanges.js';
import { changingLists } from '../list-changes.js';
import { toUpdate } from '../resource-part.js';
import { firstOwnId } from './era-search.js';

export interface ListeningOptions {
  readonly server: string;
  readonly clock: Clock;
  /** How long a server may take to acknowledge a subscription, in milliseconds. */
  readonly requestTimeoutMs: number;
  /** An id that no other request to the server has. */
  nextId(): RequestId;
  /** Sends a request of ours; the envelope is added on the way. */
  request(id: RequestId, method: string, params: Fields): void;
  cancel(id: RequestId): void;
  /** Hands a notification to the caller. */
  deliver(notification: JSONRPCNotification): void;
}

/** One `subscriptions/listen`, opened anew when it breaks. */
interface Stream {
  id: RequestId;
  readonly filter: Fields;
  isAcknowledged: boolean;
  /** Opened before: what happened meanwhile is not known. */
  wasOpen: boolean;
  tries: number;
  /** How often in a row it was refused: after an outage the server may refuse it for a moment. */
  refusals: number;
  timer: unknown;
  /** @param honored - what of the filter the server follows; nothing when it refused all of it */
  settle(honored: Fields, refusal?: RpcError): void;
}

interface Subscription {
  readonly stream: Stream;
  /** Nothing, or why it cannot be listened to. */
  readonly answer: Promise<RpcError | undefined>;
}

const firstWaitMs = 500;
const longestWaitMs = 30_000;
/** For a stream that is refused, perhaps for good. */
const longestRefusedMs = 5 * 60_000;

/**
 * Keeps streams of notifications from a server of the stateless era open for a caller that knows subscriptions and
 * unsolicited notifications alone.
 */
export class Listening {
  readonly #options: ListeningOptions;
  readonly #streams = new Map<RequestId, Stream>();
  readonly #uris = new Map<string, Subscription>();
  readonly #timers: Timers;
  #closed = false;

  constructor(options: ListeningOptions) {
    this.#options = options;
    this.#timers = new Timers(options.clock);
  }

  /** Listens for the lists that the server says may change. */
  listenToLists(capabilities: Fields): void {
    const changing = Object.entries(changingLists).filter(
      ([, { capability }]) => (capabilities[capability] as { listChanged?: unknown } | undefined)?.listChanged === true,
    );
    const filter = Object.fromEntries(changing.map(([key]) => [key, true]));
    if (Object.keys(filter).length > 0) {
      this.#open(this.#create(filter, () => {}));
    }
  }

  /** @returns nothing, or why it cannot be listened to */
  subscribe(uri: string): Promise<RpcError | undefined> {
    const known = this.#uris.get(uri);
    if (known !== undefined) {
      return known.answer;
    }
    const { requestTimeoutMs } = this.#options;
    if (this.#closed) {
      return Promise.resolve(this.#toError('SERVER_EXITED', 'the server has ended'));
    }
    const { promise: answer, resolve } = Promise.withResolvers<RpcError | undefined>();
    const timer = this.#timers.start(() => {
      const text = `resources/subscribe got no answer within request_timeout (${requestTimeoutMs} ms)`;
      this.unsubscribe(uri, this.#toError('REQUEST_TIMEOUT', text));
    }, requestTimeoutMs);
    const stream = this.#create({ resourceSubscriptions: [uri] }, (honored, refusal) => {
      this.#timers.end(timer);
      const { resourceSubscriptions: uris } = honored;
      if (Array.isArray(uris) && uris.includes(uri)) {
        resolve(undefined);
      } else {
        resolve(refusal ?? { code: -32602, message: `the server does not tell of changes of ${uri}` });
        this.unsubscribe(uri);
      }
    });
    this.#uris.set(uri, { stream, answer });
    this.#open(stream);
    return answer;
  }

  /** @param reason - for who still waits for the answer to `subscribe` */
  unsubscribe(uri: string, reason?: RpcError): void {
    const { stream } = this.#uris.get(uri) ?? {};
    if (stream !== undefined) {
      this.#uris.delete(uri);
      this.#timers.end(stream.timer);
      if (this.#streams.delete(stream.id)) {
        this.#options.cancel(stream.id);
      }
      const text = 'the subscription was ended before the server had acknowledged it';
      stream.settle({}, reason ?? this.#toError('REQUEST_CANCELLED', text));
    }
  }

  /** Nobody waits for the answer to `subscribe` any more: one that the server has acknowledged stays. */
  giveUp(uri: string): void {
    this.#uris.get(uri)?.stream.wasOpen === false && this.unsubscribe(uri);
  }

  /** True when the notification is of a stream of ours. */
  receive(notification: JSONRPCNotification): boolean {
    const { params } = notification;
    if (notification.method === 'notifications/cancelled') {
      const stream = findNamed(this.#streams, params?.requestId);
      stream && this.#lost(stream);
      return isOwn(params?.requestId);
    }
    const meta = params?._meta as Fields | undefined;
    const name = streamOf(notification);
    const stream = findNamed(this.#streams, name);
    if (stream === undefined) {
      return isOwn(name);
    }
    if (notification.method === 'notifications/subscriptions/acknowledged') {
      this.#acknowledged(stream, isFields(params?.notifications) ? params.notifications : {});
      return true;
    }
    const { [metaKeys.subscriptionId]: _, ...rest } = { ...meta };
    const { _meta, ...others } = { ...params };
    const own = Object.keys(rest).length === 0 ? others : { ...others, _meta: rest };
    const { params: _params, ...message } = notification;
    this.#options.deliver({ ...message, ...(Object.keys(own).length > 0 && { params: own }) });
    return true;
  }

  /** The request of a stream was answered: it has ended. True when it is one of ours. */
  answered(response: Response): boolean {
    const stream = this.#streams.get(response.id as RequestId);
    if (stream === undefined) {
      return false;
    }
    // One that was open it may refuse for a while, as when it is started: the caller takes it for open.
    if ('error' in response && !isOurs(response.error) && !stream.wasOpen) {
      // It does not want to.
      this.#streams.delete(stream.id);
      stream.settle({}, response.error);
    } else {
      this.#lost(stream, 'error' in response && isRefusal(response.error));
    }
    return true;
  }

  close(): void {
    this.#closed = true;
    this.#timers.endAll();
    this.#streams.clear();
    this.#uris.clear();
  }

  #create(filter: Fields, settle: Stream['settle']): Stream {
    return { id: '', filter, isAcknowledged: false, wasOpen: false, tries: 0, refusals: 0, timer: undefined, settle };
  }

  #open(stream: Stream): void {
    stream.id = this.#options.nextId();
    stream.isAcknowledged = false;
    this.#streams.set(stream.id, stream);
    this.#options.request(stream.id, 'subscriptions/listen', { notifications: stream.filter });
  }

  #acknowledged(stream: Stream, honored: Fields): void {
    stream.isAcknowledged = true;
    stream.tries = 0;
    if (stream.wasOpen) {
      this.#tellWhatMayHaveChanged(stream.filter, honored);
    } else if (Object.keys(honored).length === 0) {
      // Nothing will ever come, and the server may keep it open all the same.
      this.#streams.delete(stream.id);
      this.#options.cancel(stream.id);
    }
    stream.wasOpen = true;
    stream.settle(honored);
  }

  /** @param filter - what was asked for: a server may name a million things more */
  #tellWhatMayHaveChanged({ resourceSubscriptions: asked }: Fields, honored: Fields): void {
    for (const [key, { method }] of Object.entries(changingLists)) {
      if (honored[key] === true) {
        this.#options.deliver({ jsonrpc: '2.0', method });
      }
    }
    const uris = new Set(Array.isArray(honored.resourceSubscriptions) ? honored.resourceSubscriptions : []);
    for (const uri of Array.isArray(asked) ? (asked as string[]) : []) {
      uris.has(uri) && this.#options.deliver(toUpdate(uri));
    }
  }

  #toError(code: GatewayError['code'], text: string): RpcError {
    const error = new GatewayError(code, text, { server: this.#options.server });
    return toRpcError(error, 'unknown');
  }

  #lost(stream: Stream, isRefused = false): void {
    this.#streams.delete(stream.id);
    // Asked for after the end, which the caller may not have heard of yet.
    if (this.#closed) {
      return;
    }
    const after = (times: number) => firstWaitMs * 2 ** Math.min(times, 10);
    stream.refusals = isRefused ? stream.refusals + 1 : 0;
    const longest = Math.min(longestRefusedMs, Math.max(longestWaitMs, after(stream.refusals)));
    const wait = Math.min(longest, after(stream.tries));
    stream.tries += 1;
    stream.timer = this.#timers.start(() => this.#open(stream), wait);
  }
}

/** Whether a request of ours has this id, or had it. */
function isOwn(id: unknown): boolean {
  return Number(id) > firstOwnId;
}

/** Whether there is nothing that passes by itself. */
function isRefusal(error: RpcError): boolean {
  const status = isFields(error.data) ? error.data.status : undefined;
  return !isOurs(error) || (typeof status === 'number' && !mayPass(status));
}

/** Ours say that the connection broke; a server's that it refuses. */
function isOurs({ code, data }: { readonly code: number; readonly data?: unknown }): boolean {
  return code > 0 && isFields(data) && typeof data.code === 'string';
}
