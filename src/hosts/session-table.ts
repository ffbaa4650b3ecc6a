import { randomUUID } from 'node:crypto';
import { GatewayError } from '../errors.js';
import type { Caller } from '../runtime.js';
import type { Transport } from '../sdk.js';
import { settledWithin } from '../util/abort.js';
import { HttpSession } from './http-session.js';
import { Refusal } from './refusal.js';
import type { ResolvedSessionOptions, SessionTransportSettings } from './session-options.js';
import { createSiteCheck } from './site-check.js';

/** Makes the server-side transport of a session. */
export type CreateSessionTransport<T> = (settings: SessionTransportSettings) => T;

/** Serves one session on its transport; resolves when the transport has started. */
export type ServeSession<T> = (transport: T, caller: Caller) => Promise<unknown>;

/** The part of an HTTP request that decides what becomes of it. */
export interface IncomingRequest<Original> {
  readonly original: Original;
  readonly method: string;
  header(name: 'host' | 'origin' | 'mcp-session-id'): string | null;
  /** The body as JSON. @throws Refusal */
  readBody(): Promise<unknown>;
}

/** A request that a session takes. */
export interface Admission<T> {
  readonly transport: T;
  readonly caller: Caller;
  /** Of a POST. */
  readonly body: unknown;
  /** The request has ended. To be called once. */
  end(broken: boolean): void;
}

const methods = ['POST', 'GET', 'DELETE'];

/** The sessions of a host, by their ids. */
export class SessionTable<T extends Transport, Original> {
  readonly #sessions = new Map<string, HttpSession<T>>();
  readonly #create: CreateSessionTransport<T>;
  readonly #serve: ServeSession<T>;
  readonly #options: ResolvedSessionOptions<Original>;
  readonly #checkSite: (host: string | null, origin: string | null) => void;
  #closing = false;
  /** POSTs that are not answered yet. */
  #posts = 0;
  #drained: () => void = () => {};

  constructor(create: CreateSessionTransport<T>, serve: ServeSession<T>, options: ResolvedSessionOptions<Original>) {
    this.#create = create;
    this.#serve = serve;
    this.#options = options;
    this.#checkSite = createSiteCheck(options);
  }

  get size(): number {
    return this.#sessions.size;
  }

  /**
   * Finds the session of a request, or begins one.
   *
   * @throws Refusal
   */
  async admit(request: IncomingRequest<Original>): Promise<Admission<T>> {
    this.#checkSite(request.header('host'), request.header('origin'));
    if (!methods.includes(request.method)) {
      throw new Refusal('method', `${request.method} means nothing here`, { allow: methods.join(', ') });
    }
    const given = await this.#options.authenticate(request.original);
    // Hosts without a compiler may say null or false.
    if (typeof given !== 'object' || given === null) {
      throw new Refusal('unauthenticated', 'Who is calling?', { 'www-authenticate': this.#options.challenge });
    }
    const caller = withoutEmpty(given);
    const id = request.header('mcp-session-id');
    // Proxies write an empty header for one that is not there.
    const session = id ? this.#find(id, caller) : undefined;
    const post = request.method === 'POST';
    if (session === undefined) {
      if (!post) {
        throw new Refusal('session-missing', 'The Mcp-Session-Id header is missing');
      }
      this.#refuseWhenFull();
    }
    const end = this.#enter(session, post);
    try {
      const body = post ? await request.readBody() : undefined;
      if (session !== undefined) {
        if (this.#closing && post && [body].flat().some(isRequest)) {
          throw closing();
        }
        return { transport: session.transport, caller, body, end };
      }
      if (!isInitialize(body)) {
        throw new Refusal('session-missing', 'A request other than initialize needs the Mcp-Session-Id header');
      }
      const begun = await this.#begin(caller);
      begun.enter();
      return {
        transport: begun.transport,
        caller,
        body,
        end: (broken) => {
          end(broken);
          begun.leave(broken);
          // The transport refused the request, for its Accept header perhaps: then no session has begun.
          if (begun.transport.sessionId === undefined) {
            this.#end(begun);
          }
        },
      };
    } catch (error) {
      end(false);
      throw error;
    }
  }

  /** What the sender of a request is told that failed with `error`. */
  refusalOf(error: unknown): Refusal {
    if (error instanceof Refusal) {
      return error;
    }
    this.#options.onError(error);
    // The messages of this library are made to be shown, but the one that names every server; others may hold anything.
    const isShown = GatewayError.is(error) && error.code !== 'SERVER_UNKNOWN';
    return new Refusal('failed', isShown ? error.message : 'The host failed');
  }

  /** Takes no new session, lets open requests end for so long, then closes every session. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    if (this.#posts > 0 && graceMs > 0) {
      const drained = new Promise<void>((resolve) => {
        this.#drained = resolve;
      });
      await settledWithin(drained, graceMs, this.#options.clock);
    }
    await Promise.all([...this.#sessions.values()].map((session) => this.#end(session)));
  }

  #find(id: string, caller: Caller): HttpSession<T> {
    const session = this.#sessions.get(id);
    // To somebody else it must look as if there were none.
    if (session === undefined || !session.belongsTo(caller)) {
      throw new Refusal('session-unknown', 'Session not found');
    }
    return session;
  }

  #enter(session: HttpSession<T> | undefined, post: boolean): (broken: boolean) => void {
    session?.enter();
    this.#posts += post ? 1 : 0;
    return (broken) => {
      session?.leave(broken);
      this.#posts -= post ? 1 : 0;
      if (this.#posts === 0) {
        this.#drained();
      }
    };
  }

  async #begin(caller: Caller): Promise<HttpSession<T>> {
    this.#refuseWhenFull();
    const id = randomUUID();
    const { idleTimeoutMs, disconnectTimeoutMs, clock } = this.#options;
    const transport = this.#create({ sessionIdGenerator: () => id });
    const session: HttpSession<T> = new HttpSession(id, transport, {
      caller,
      idleTimeoutMs,
      disconnectTimeoutMs,
      clock,
      onIdle: () => void this.#end(session),
    });
    const { onclose } = transport;
    // Whoever serves the session keeps what it finds here: SDK servers and `gateway.serve` call it first.
    transport.onclose = () => {
      // First: what the host has set may throw.
      this.#forget(session);
      onclose?.();
    };
    this.#sessions.set(id, session);
    try {
      await this.#serve(transport, caller);
      if (this.#closing) {
        throw closing();
      }
    } catch (error) {
      await this.#end(session);
      throw error;
    }
    return session;
  }

  async #end(session: HttpSession<T>): Promise<void> {
    this.#forget(session);
    try {
      await session.transport.close();
    } catch (error) {
      this.#options.onError(error);
    }
  }

  #forget(session: HttpSession<T>): void {
    session.end();
    this.#sessions.delete(session.id);
  }

  #refuseWhenFull(): void {
    if (this.#closing) {
      throw closing();
    }
    if (this.#sessions.size >= this.#options.maxSessions) {
      throw new Refusal('too-many-sessions', 'There are too many sessions; try again later', { 'retry-after': '30' });
    }
  }
}

/** For what would begin while the host closes. */
export function closing(): Refusal {
  return new Refusal('closing', 'The host is closing', { 'retry-after': '5' });
}

/** Hosts may say '' of who has no id, or no principal, and those without a compiler null. */
function withoutEmpty(caller: Caller): Caller {
  const { id, principal, authInfo, data } = caller;
  return isEmpty(id) || isEmpty(principal)
    ? // One by one: a host's own class may have getters.
      {
        ...caller,
        id: isEmpty(id) ? undefined : id,
        principal: isEmpty(principal) ? undefined : principal,
        authInfo,
        data,
      }
    : caller;
}

function isEmpty(name: unknown): boolean {
  return name === null || name === '';
}

/** Whether a body begins a session. */
export function isInitialize(body: unknown): boolean {
  return isRequest(body) && body.method === 'initialize';
}

function isRequest(message: unknown): message is { readonly method: unknown } {
  return typeof message === 'object' && message !== null && 'method' in message && 'id' in message;
}
