import type { EventStream } from './event-stream.js';
import type { Call, Judge } from './judge.js';
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
  /** Those of them that are for the caller itself, with what it is to say, and what waits for that. */
  readonly elicited: Map<unknown, { readonly text: string; readonly goOn: () => void }>;
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
    elicited: new Map(),
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

/** A question to the caller of a call. */
export function elicit(session: Session, call: Call, goOn: () => void): Message {
  const { id } = ask(session);
  const text = `${call.number} in call`;
  session.elicited.set(id, { text, goOn });
  const params = { message: text, requestedSchema: { type: 'object', properties: { asked: { type: 'string' } } } };
  return { jsonrpc: '2.0', id, method: 'elicitation/create', params } as Message;
}

/** A client answers a question. */
export function takeAnswer(judge: Judge, { asked, elicited }: Session, { id, result }: Message): void {
  if (!asked.delete(id)) judge.problem(`an answer to ${JSON.stringify(id)}, which is not asked`);
  const { text, goOn } = elicited.get(id) ?? {};
  if (text === undefined) return;
  const said = (result?.content as { asked?: unknown } | undefined)?.asked;
  if (result !== undefined && said !== text) judge.problem(`"${text}" is answered with ${JSON.stringify(result)}`);
  judge.count(`elicited: ${result === undefined ? 'refused' : 'answered'}`);
  goOn?.();
}
