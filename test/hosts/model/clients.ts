import type { RequestId } from '../../../src/sdk.js';
import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { HttpLine } from './http-line.js';

/** Who may send requests; the name is what the Authorization header holds. One of them has no id. */
export const users = {
  ann: { id: 'ann' },
  bob: { id: 'bob', principal: 'p' },
  eve: { principal: 'p' },
} as const;
export type User = keyof typeof users;

/** A client with a session, or one of the stateless era, and what it remembers. */
export interface Client {
  readonly index: number;
  readonly user: User;
  readonly era: 'legacy' | 'modern';
  readonly capabilities: Json;
  session: string | undefined;
  version: string;
  readonly lines: HttpLine[];
  readonly exchanges: Exchange[];
  /** Questions that it has before it. */
  readonly asked: Asked[];
  /** The ids of events: none comes twice. */
  readonly eventIds: Set<string>;
  /** What servers have said, by number: nothing comes twice. */
  readonly seen: Set<unknown>;
  /** It has ended its session. */
  hasEnded: boolean;
  /** The host has said so too. */
  isGone: boolean;
  /** When its last response ended; from then on its session is quiet, for so long. */
  quietAt: number;
  quietMs: number;
}

/** A request that stands in a body. */
export interface Sent {
  /** One that no other request has, also in its arguments. */
  readonly number: number;
  readonly client: Client;
  readonly id: RequestId;
  readonly method: string;
  readonly params: Json;
  /** Of a call. */
  readonly server: string | undefined;
  readonly token: RequestId | undefined;
  /** Progress that its server has sent. */
  readonly progress: number[];
  exchange: Exchange | undefined;
  /** Where it came, once at most, and under which id. */
  at: { readonly instance: ScriptedInstance; readonly id: RequestId } | undefined;
  isAnsweredByServer: boolean;
  answers: number;
  isCancelled: boolean;
  /** Its server has to hear that nobody waits. */
  isToldOff: boolean;
  /** Its server has answered while the host gave it time to. */
  isInTime: boolean;
  /** It goes on with the call of another: it has to be refused. */
  isTheft: boolean;
  /** With the answer to a question. */
  isAgain: boolean;
}

/** One HTTP request with its response. */
export interface Exchange {
  readonly number: number;
  readonly client: Client;
  readonly line: HttpLine;
  readonly what: string;
  readonly sent: readonly Sent[];
  readonly isStream: boolean;
  /** Of the last event that was read. */
  eventId: string | undefined;
  /** It names another session, or none. */
  readonly isOfOtherSession: boolean;
  /** Those that may be. */
  statuses: readonly number[];
  status: number | undefined;
  end: 'clean' | 'cut' | 'left' | undefined;
  /** The host may break it off: its client does not read, or reads another response before it. */
  mayBeCut: boolean;
  /** The turn in which it was sent. */
  readonly sentAt: number;
  /** The turn in which the client hung up. */
  leftAt: number;
}

/** A question before a client. */
export interface Asked {
  readonly id: RequestId | undefined;
  readonly number: unknown;
  readonly method: string;
  /** The stateless call that needs the answer. */
  readonly of?: { readonly sent: Sent; readonly state: unknown; readonly key: string };
}

/** With whom a client shares the servers that are for callers alone. */
export function groupOf({ user, era, index }: Client): string {
  const caller: { readonly id?: string; readonly principal?: string } = users[user];
  return caller.id ?? (era === 'modern' ? `everything of ${caller.principal}` : `session ${index}`);
}

export function nameOf(client: Client): string {
  return `client ${client.index} (${client.era}, ${client.user})`;
}
