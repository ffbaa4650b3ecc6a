import type { EventStream } from './event-stream.js';
import type { Call } from './judge.js';
import type { Member, Message } from './members.js';

/** In place of the id, where there are no sessions. */
export const stateless = 'none';

/** A session of a client with the server. */
export interface Session {
  readonly id: string;
  /** The revision that was agreed on. */
  readonly version: string | undefined;
  /** Whose it is, once a call has come. */
  owner: Member | undefined;
  /** The client has its id: a request has come with it. */
  isKnown: boolean;
  isAlive: boolean;
  /** A message to it was cut off, or may have been. */
  hasLost: boolean;
  deletes: number;
  /** The connection of a DELETE was cut. */
  isCutAtEnd: boolean;
  /** Calls, with their ids. */
  readonly calls: Map<Call, unknown>;
  /** The ids of the requests that the client has taken back. */
  readonly cancelled: Set<unknown>;
  /** Questions without an answer. The sessions use the same ids. */
  readonly asked: Set<unknown>;
  questions: number;
  /** Calls without an answer, with the requests that they came in. */
  readonly open: Map<Call, Message>;
  /** What belongs to no request. */
  listening: EventStream | undefined;
}

export function createSession(id: string, version?: string): Session {
  return {
    id,
    version,
    owner: undefined,
    isKnown: false,
    isAlive: true,
    hasLost: false,
    deletes: 0,
    isCutAtEnd: false,
    calls: new Map(),
    cancelled: new Set(),
    asked: new Set(),
    questions: 0,
    open: new Map(),
    listening: undefined,
  };
}

/** A question to the client of a session. */
export function ask(session: Pick<Session, 'asked' | 'questions'>): Message {
  session.questions += 1;
  const id = session.questions % 2 === 0 ? session.questions : `question ${session.questions}`;
  session.asked.add(id);
  return { jsonrpc: '2.0', id, method: 'ping' } as Message;
}
