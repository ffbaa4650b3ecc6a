import type { GatewayError } from '../../errors.js';
import { toErrorResponse } from '../../instance/error-response.js';
import type { Response } from '../../instance/exchanges.js';
import { logLevels } from '../../instance/tell-log-level.js';
import { isResponse, type JSONRPCMessage, type RequestId } from '../../sdk.js';
import { legacyRevisions, ownInfo } from '../../transport/modern.js';
import { tasksExtension } from '../../transport/tasks.js';
import { type Fields, isFields } from '../../util/fields.js';
import type { PeerExtra, PeerFactory, SendInfo, SessionPeer } from '../peer.js';
import type { Envelope } from './envelope.js';
import type { ModernCall } from './modern-call.js';

export interface CallerSessionsOptions {
  /** Makes the peer of a caller with a session. */
  readonly createSession: PeerFactory<SessionPeer>;
  /** Takes what a session has for its caller, besides answers to what was asked here. */
  receive(session: CallerSession, message: JSONRPCMessage, info: SendInfo): void;
  /** Whether anything of the caller is under way in it. */
  isUsed(session: CallerSession): boolean;
  /** It is closed to make room for another one. */
  onEnd(session: CallerSession): void;
}

// A caller has one set of capabilities; several are several callers behind one, of which there are not many.
export const mostSessions = 8;

const initializeId = 0;

/** The caller's session of one set of capabilities, as its servers see it. */
export class CallerSession {
  readonly key: string;
  readonly peer: SessionPeer;
  /** The level from which on its servers write to the log. */
  logLevel: string | undefined;
  /** Whom a question was put to, by the id under which this session asked. */
  readonly asked = new Map<RequestId, ModernCall>();
  /** The resources that its servers tell it about. */
  readonly subscribed = new Set<string>();
  #answer: Response | undefined;
  #waiting: ((answer: Response) => void)[] = [];

  constructor(key: string, create: (session: CallerSession) => SessionPeer) {
    this.key = key;
    this.peer = create(this);
  }

  /** The answer to its `initialize`, as it would be now; undefined while that is under way. */
  get initialized(): Fields | undefined {
    const answer = this.#answer;
    // Of its servers more may be known by now, and there may be others.
    return answer !== undefined && 'result' in answer ? (this.peer.initializeResult?.() ?? answer.result) : undefined;
  }

  get isOpen(): boolean {
    return this.#answer !== undefined;
  }

  /** Calls back with the answer to `initialize`: on the spot where it is there. */
  whenOpen(then: (answer: Response) => void): void {
    if (this.#answer === undefined) {
      this.#waiting.push(then);
    } else {
      then(this.#answer);
    }
  }

  /** @internal */
  opened(answer: Response): void {
    this.#answer = answer;
    for (const then of this.#waiting.splice(0)) {
      then(answer);
    }
  }
}

/** What was asked on our own account, of which somebody may come to want no answer. */
export interface Asked {
  /** Tells the session so; nothing where it is answered. */
  callOff?(): void;
}

/** The sessions of one stateless caller: one for each set of capabilities that it declares. */
export class CallerSessions {
  readonly #options: CallerSessionsOptions;
  readonly #sessions = new Map<string, CallerSession>();
  readonly #asking = new Map<RequestId, { readonly session: CallerSession; answered(response: Response): void }>();
  #nextId = 1;

  constructor(options: CallerSessionsOptions) {
    this.#options = options;
  }

  get all(): CallerSession[] {
    return [...this.#sessions.values()];
  }

  /** An id that no other request of this caller has. */
  nextId(): RequestId {
    return this.#nextId++;
  }

  /** The session for what a request says of its sender; undefined when there are too many that are in use. */
  of({ capabilities, clientInfo }: Envelope): CallerSession | undefined {
    const { elicitation, sampling, roots, experimental } = capabilities;
    // For tasks sessions have another word.
    const { [tasksExtension]: _, ...extensions } = isFields(capabilities.extensions) ? capabilities.extensions : {};
    const own = {
      ...(elicitation !== undefined && { elicitation }),
      ...(sampling !== undefined && { sampling }),
      ...(roots !== undefined && { roots }),
      ...(isFields(experimental) && { experimental }),
      ...(Object.keys(extensions).length > 0 && { extensions }),
    };
    const key = JSON.stringify(own);
    return this.#sessions.get(key) ?? this.#open(key, own, clientInfo);
  }

  /**
   * Asks something of a session on our own account.
   *
   * @param extra - of the caller's request that needs it
   * @param asked - filled; called off, it gets no answer
   */
  ask(session: CallerSession, method: string, params: Fields, extra?: PeerExtra, asked: Asked = {}): Promise<Response> {
    return new Promise((resolve) => {
      const id = this.nextId();
      this.#asking.set(id, { session, answered: resolve });
      asked.callOff = () => {
        this.#asking.delete(id) &&
          session.peer.receive({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id } });
      };
      session.peer.receive({ jsonrpc: '2.0', id, method, params }, extra);
    });
  }

  /** Servers with sessions have one level for all requests: the one that lets through what any of them wants. */
  wantLog(session: CallerSession, level: string | undefined): void {
    if (level === undefined) {
      return;
    }
    if (session.logLevel === undefined || logLevels.indexOf(level) < logLevels.indexOf(session.logLevel)) {
      session.logLevel = level;
      // Before whatever waits for the session to open.
      session.whenOpen(() => {
        const { logging } = (session.initialized?.capabilities ?? {}) as { logging?: unknown };
        // The merged peer takes it for servers that come later, too.
        const isTaken = logging !== undefined || session.peer.initializeResult !== undefined;
        isTaken && void this.ask(session, 'logging/setLevel', { level });
      });
    }
  }

  /** Answers what waits for a session that will not open any more. */
  failAll(reason: GatewayError): void {
    for (const session of this.#sessions.values()) {
      session.isOpen || session.opened(toErrorResponse(initializeId, reason, false));
    }
  }

  async close(): Promise<void> {
    this.#asking.clear();
    await Promise.all(this.all.map(({ peer }) => peer.close()));
  }

  #open(key: string, capabilities: Fields, clientInfo: Fields | undefined): CallerSession | undefined {
    if (this.#sessions.size >= mostSessions && !this.#makeRoom()) {
      return undefined;
    }
    const { createSession } = this.#options;
    const session = new CallerSession(key, (own) =>
      createSession((message, info = {}) => this.#receive(own, message, info)),
    );
    this.#sessions.set(key, session);
    const params = { protocolVersion: legacyRevisions[0], capabilities, clientInfo: clientInfo ?? ownInfo };
    // The merged peer answers on the spot: it waits for no server.
    session.peer.receive({ jsonrpc: '2.0', id: initializeId, method: 'initialize', params });
    return session;
  }

  #receive(session: CallerSession, message: JSONRPCMessage, info: SendInfo): void {
    if (isResponse(message)) {
      const id = message.id as RequestId;
      if (id === initializeId) {
        session.opened(message);
        return;
      }
      const asking = this.#asking.get(id);
      if (asking !== undefined) {
        this.#asking.delete(id);
        asking.answered(message);
        return;
      }
    }
    this.#options.receive(session, message, info);
  }

  /** Ends the oldest session that nobody uses. */
  #makeRoom(): boolean {
    const asked = new Set([...this.#asking.values()].map(({ session }) => session));
    const unused = this.all.find((session) => !asked.has(session) && !this.#options.isUsed(session));
    if (unused === undefined) {
      return false;
    }
    this.#sessions.delete(unused.key);
    this.#options.onEnd(unused);
    unused.peer.close().catch(() => {});
    return true;
  }
}
