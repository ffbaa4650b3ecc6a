import type { Response, RpcError } from '../../instance/exchanges.js';
import { changingLists } from '../../instance/list-changes.js';
import { isPartOf } from '../../instance/resource-part.js';
import type { JSONRPCNotification, JSONRPCRequest, RequestId } from '../../sdk.js';
import { metaKeys } from '../../transport/modern.js';
import { hasTasksExtension } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';
import type { PeerExtra } from '../peer.js';
import type { Asked, CallerSession } from './caller-sessions.js';
import { missingTasks } from './envelope.js';
import type { Reply } from './modern-call.js';
import { toModernResult } from './results.js';

export interface ListensOptions {
  /**
   * Asks something of a session on our own account.
   *
   * @param extra - of the caller's request that needs it
   */
  ask(
    session: CallerSession,
    method: string,
    params: Fields,
    extra: PeerExtra | undefined,
    asked?: Asked,
  ): Promise<Response>;
}

interface Listen {
  readonly id: RequestId;
  readonly extra: PeerExtra | undefined;
  readonly session: CallerSession;
  readonly reply: Reply;
  readonly methods: ReadonlySet<string>;
  readonly uris: Set<string>;
  /** Its subscriptions that are not answered yet, by URI. */
  readonly asked: Map<string, Asked>;
  isAcknowledged: boolean;
}

const updated = 'notifications/resources/updated';
const mostListens = 100;
const mostUris = 1_000;

/** The streams of notifications that a caller has open, and what of its session goes to which of them. */
export class Listens {
  readonly #options: ListensOptions;
  readonly #open = new Set<Listen>();

  constructor(options: ListensOptions) {
    this.#options = options;
  }

  isUsing(session: CallerSession): boolean {
    return [...this.#open].some((listen) => listen.session === session);
  }

  /** @returns ends it, because the caller has left */
  open(
    request: JSONRPCRequest,
    extra: PeerExtra | undefined,
    session: CallerSession,
    initialized: Fields,
    reply: Reply,
  ): () => void {
    const { id } = request;
    const filter = request.params?.notifications;
    const refuse = (error: RpcError) => {
      reply({ jsonrpc: '2.0', id, error });
      return () => {};
    };
    const problem = problemOf(filter);
    if (problem !== undefined) {
      return refuse({ code: -32602, message: problem });
    }
    const declared = request.params?._meta?.[metaKeys.clientCapabilities];
    if ((filter as Fields).taskIds !== undefined && !(isFields(declared) && hasTasksExtension(declared))) {
      return refuse(missingTasks('taskIds need'));
    }
    if (this.#open.size >= mostListens) {
      return refuse({ code: -32603, message: `${mostListens} streams are open already` });
    }
    // What the caller was told first counts too: a reload may bring back what no server has now.
    const told = [initialized, session.initialized] as ({ capabilities?: Record<string, Fields> } | undefined)[];
    const honored = Object.entries(changingLists).filter(
      ([key, { capability }]) =>
        (filter as Fields)[key] === true && told.some((said) => said?.capabilities?.[capability]?.listChanged === true),
    );
    const methods = new Set<string>(honored.map(([, { method }]) => method));
    const asked = new Map<string, Asked>();
    const listen: Listen = { id, extra, session, reply, methods, uris: new Set(), asked, isAcknowledged: false };
    this.#open.add(listen);
    const names = Object.fromEntries(honored.map(([key]) => [key, true]));
    const uris = [...new Set(((filter as Fields).resourceSubscriptions ?? []) as string[])];
    if (uris.length === 0) {
      this.#acknowledge(listen, names);
    } else {
      void Promise.all(uris.map((uri) => this.#subscribe(listen, uri))).then(() => {
        const own = [...listen.uris];
        this.#acknowledge(listen, { ...names, ...(own.length > 0 && { resourceSubscriptions: own }) });
      });
    }
    return () => {
      this.#end(listen);
      for (const [uri, { callOff }] of asked) {
        callOff?.();
        // The server may have done it before it hears of that.
        if (this.#isSubscribed(session, uri)) {
          session.subscribed.add(uri);
        } else if (session.peer.initializeResult === undefined) {
          // The merged peer does so by itself.
          void this.#options.ask(session, 'resources/unsubscribe', { uri }, extra);
        }
      }
    };
  }

  /**
   * Hands a notification of a session to the streams that want it.
   *
   * @param forms - of an update: the URIs that it tells of, where its own does not say that
   */
  dispatch(session: CallerSession, notification: JSONRPCNotification, forms?: readonly string[]): void {
    const told = forms && new Set(forms);
    for (const listen of [...this.#open]) {
      const { uri } = notification.params ?? {};
      const wanted =
        notification.method === updated
          ? [...listen.uris].some((own) => told?.has(own) ?? isPartOf(String(uri), own))
          : listen.methods.has(notification.method);
      if (listen.session === session && listen.isAcknowledged && wanted) {
        this.#notify(listen, notification);
      }
    }
  }

  /** Ends all streams, as a server that closes does. */
  finishAll(): void {
    for (const listen of [...this.#open]) {
      this.#finish(listen);
    }
  }

  async #subscribe(listen: Listen, uri: string): Promise<void> {
    const { session, uris, extra } = listen;
    uris.add(uri);
    // Also when another stream has it: whether this one may is for the interceptor and the server to say.
    const asked: Asked = {};
    listen.asked.set(uri, asked);
    const answer = await this.#options.ask(session, 'resources/subscribe', { uri }, extra, asked);
    listen.asked.delete(uri);
    if ('error' in answer) {
      uris.delete(uri);
    } else {
      session.subscribed.add(uri);
    }
    if ('error' in answer || !this.#open.has(listen)) {
      // Refused, or the caller has left meanwhile; what others had of it may have ended as well.
      this.#unsubscribe(listen, uri);
    }
  }

  #unsubscribe({ session, extra }: Listen, uri: string): void {
    if (!this.#isSubscribed(session, uri) && session.subscribed.delete(uri)) {
      void this.#options.ask(session, 'resources/unsubscribe', { uri }, extra);
    }
  }

  #isSubscribed(session: CallerSession, uri: string): boolean {
    return [...this.#open].some((listen) => listen.session === session && listen.uris.has(uri));
  }

  #acknowledge(listen: Listen, honored: Fields): void {
    if (!this.#open.has(listen)) {
      return;
    }
    listen.isAcknowledged = true;
    const method = 'notifications/subscriptions/acknowledged';
    this.#notify(listen, { jsonrpc: '2.0', method, params: { notifications: honored } });
    if (Object.keys(honored).length === 0) {
      // Nothing would ever come.
      this.#finish(listen);
    }
  }

  #notify({ id, reply }: Listen, { params, ...message }: JSONRPCNotification): void {
    const _meta = { ...params?._meta, [metaKeys.subscriptionId]: id };
    reply({ ...message, params: { ...params, _meta } });
  }

  #finish(listen: Listen): void {
    this.#end(listen);
    const { id } = listen;
    const result = toModernResult('subscriptions/listen', { _meta: { [metaKeys.subscriptionId]: id } });
    listen.reply({ jsonrpc: '2.0', id, result });
  }

  #end(listen: Listen): void {
    if (this.#open.delete(listen)) {
      for (const uri of listen.uris) {
        this.#unsubscribe(listen, uri);
      }
    }
  }
}

function problemOf(filter: unknown): string | undefined {
  if (!isFields(filter)) {
    return 'params.notifications must be an object';
  }
  const wrong = Object.keys(changingLists).find((key) => filter[key] !== undefined && typeof filter[key] !== 'boolean');
  if (wrong !== undefined) {
    return `params.notifications.${wrong} must be true or false`;
  }
  const uris = filter.resourceSubscriptions;
  if (uris !== undefined && !(Array.isArray(uris) && uris.every((uri) => typeof uri === 'string'))) {
    return 'params.notifications.resourceSubscriptions must be an array of strings';
  }
  return Array.isArray(uris) && uris.length > mostUris
    ? `params.notifications.resourceSubscriptions has more than ${mostUris} entries`
    : undefined;
}
