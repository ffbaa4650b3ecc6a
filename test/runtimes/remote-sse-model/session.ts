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
  deletes: number;
  readonly asked: Set<unknown>;
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
    deletes: 0,
    asked: new Set(),
    open: new Map(),
    listening: undefined,
  };
}
