import type { JSONRPCRequest, RequestId } from '../../../src/sdk.js';
import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';

/** Who sends requests. Two are of one principal, and one of these has no id. */
export const users = {
  ann: { id: 'ann' },
  bob: { id: 'bob', principal: 'p' },
  eve: { principal: 'p' },
} as const;
export type User = keyof typeof users;
export const userNames = Object.keys(users) as User[];

/** What clients say that they can be asked for. */
export const abilities: readonly Json[] = [
  { elicitation: {} },
  { elicitation: {}, sampling: {} },
  { elicitation: { form: {}, url: {} }, roots: {} },
  {},
];

/** For each caller one, for each principal, for all, and for each request; and one of the stateless era. */
export const serverIds = ['own', 'principals', 'all', 'each', 'new'] as const;
export type ServerId = (typeof serverIds)[number];

/** What a client wants to have done, in as many requests as it takes. */
export interface Wish {
  /** One that nothing else has, also in the arguments. */
  readonly number: number;
  readonly user: User;
  readonly server: ServerId;
  readonly method: 'tools/call' | 'prompts/get';
  readonly params: Json;
}

/** One HTTP request with its response. */
export interface Exchange {
  readonly number: number;
  readonly wish: Wish;
  readonly user: User;
  readonly abilities: Json;
  readonly token: string | undefined;
  readonly abort: AbortController;
  /** The turn in which it was sent. */
  readonly sentAt: number;
  /** With which it goes on. */
  readonly state: State | undefined;
  readonly responses: Json;
  /** Whether the state is good: undefined when nobody can tell. */
  isGood: boolean | undefined;
  /** What a server works on for it; undefined while nobody can tell, and for what is refused. */
  leg: Leg | undefined;
  readonly progress: number[];
  answer: Json | undefined;
  isRefused: boolean;
  hasLeft: boolean;
  /** The response has ended. */
  isOver: boolean;
}

/** What a `requestState` that a client has got stands for. */
export interface State {
  readonly text: string | undefined;
  /** Of a call that goes on, of a server's own state, or of a call that is to be made once more. */
  readonly kind: 'held' | 'passed' | 'again';
  readonly wish: Wish;
  readonly leg: Leg;
  /** What it asks for: the questions by their keys. */
  readonly keys: ReadonlyMap<string, Question | undefined>;
  /** When it was read, and the earliest time at which it may have been written. */
  readonly readAt: number;
  readonly writtenFrom: number;
  readonly takers: Exchange[];
  /** The turn in which somebody came back who surely could. */
  goodAt: number | undefined;
}

/** One request as its server has it: over several rounds where that has sessions. */
export interface Leg {
  /** Of the request that it began with, by which the server knows it. */
  readonly number: number;
  readonly wish: Wish;
  readonly abilities: Json;
  readonly hasToken: boolean;
  readonly beganAt: number;
  /** What it went on with, as its server is to get it. */
  readonly begunWith: State | undefined;
  at: { readonly instance: ScriptedInstance; readonly request: JSONRPCRequest } | undefined;
  arrivedAt: number;
  /** What the server has said, while it ran. */
  answer: Json | undefined;
  /** What waits for it. */
  open: Exchange | undefined;
  /** What the caller has been given to come back with. */
  state: State | undefined;
  /** It has had its outcome, or nobody waits for it. */
  isOver: boolean;
  /** Its server has to hear that nobody waits. */
  isToldOff: boolean;
  /** What has happened in one turn may have come in any order. */
  isUnsure: boolean;
  /** The last turn in which anything happened to it. */
  touchedAt: number;
}

/** What a server with sessions has asked. */
export interface Question {
  readonly number: number;
  readonly method: string;
  readonly instance: ScriptedInstance;
  readonly id: RequestId;
  readonly group: string;
  /** In which the server says that it asks. */
  readonly told: Leg | undefined;
  /** That call ended in the same turn: it may have been over. */
  isLate: boolean;
  /** It came to another call. */
  isElsewhere: boolean;
  readonly askedAt: number;
  withdrawnAt: number | undefined;
  /** When its answer came. */
  doneAt: number | undefined;
  /** Requests that have brought an answer, and were not refused. */
  readonly given: Exchange[];
}

/** Whose servers of one kind are the same. */
export function groupOf(user: User, server: ServerId): string {
  const { id, principal }: { readonly id?: string; readonly principal?: string } = users[user];
  switch (server) {
    case 'own':
      return id ?? `${principal} alone`;
    case 'principals':
      return principal ?? user;
    default:
      return 'everybody';
  }
}

const needs: Readonly<Record<string, string>> = {
  'elicitation/create': 'elicitation',
  'sampling/createMessage': 'sampling',
  'roots/list': 'roots',
};

export function isAble(able: Json, method: string): boolean {
  return (needs[method] as string) in able;
}
