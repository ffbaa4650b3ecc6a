import type { Caller } from '../../../src/runtime.js';
import type { JSONRPCMessage, RequestId, Transport } from '../../../src/sdk.js';
import type { PlayedServer } from './played-runtime.js';

/** An entry for each way to share a server. */
export const entries = ['own', 'all', 'team', 'once'] as const;
export type Entry = (typeof entries)[number];

/** Callers of whom the host says nothing, two connections of one caller, and two callers of one principal. */
export const identities: readonly Caller[] = [
  {},
  { id: 'ada', principal: 'red' },
  { id: 'ada', principal: 'red' },
  { id: 'bob', principal: 'red' },
  { principal: 'blue' },
  { id: 'cid' },
  {},
];

/** A call as its caller remembers it. */
export interface Call {
  readonly number: number;
  readonly member: Member;
  readonly entry: Entry;
  readonly id: RequestId;
  readonly token: RequestId | undefined;
  readonly sentAt: number;
  answers: number;
  cancelled: boolean;
  /** `send` said that it was not accepted. */
  refused: boolean;
  /** Was told that no server got it. */
  toldUndelivered: boolean;
  seen: { readonly server: PlayedServer; readonly at: number } | undefined;
}

/** A connection: to the merged peer, or to one entry. */
export interface Member {
  readonly index: number;
  readonly identity: Caller;
  readonly only: Entry | undefined;
  readonly transport: Transport;
  readonly calls: Map<RequestId, Call>;
  state: 'starting' | 'open' | 'left' | 'ended';
  closes: number;
}

/** Whose a server is that gets this call: nobody else may use it. */
export function ownerOf({ entry, member, number }: Call): string {
  const { id, principal } = member.identity;
  const caller = id === undefined ? `connection ${member.index}` : `caller ${id}`;
  switch (entry) {
    case 'own':
      return member.only === undefined ? caller : `connection ${member.index}`;
    case 'all':
      return 'everybody';
    case 'team':
      return principal === undefined ? caller : `principal ${principal}`;
    case 'once':
      return `call ${number}`;
  }
}

/** Whether somebody who uses a server of this owner may hear what it says to nobody in particular. */
export function mayHear(member: Member, entry: Entry, owner: string): boolean {
  if (owner === 'everybody' || owner.startsWith('principal ')) {
    return false;
  }
  if (owner.startsWith('call ')) {
    return [...member.calls.values()].some((call) => ownerOf(call) === owner);
  }
  const any = { entry, member, number: 0 } as Call;
  return (member.only ?? entry) === entry && ownerOf(any) === owner;
}

/** Somebody waits for the answer. */
export function isWaiting({ answers, cancelled, refused, member }: Call): boolean {
  return answers === 0 && !cancelled && !refused && member.state !== 'left';
}

export type Message = JSONRPCMessage & {
  readonly id?: RequestId;
  readonly method?: string;
  readonly params?: Record<string, unknown>;
  readonly result?: Record<string, unknown>;
  readonly error?: { readonly code: number; readonly message: string; readonly data?: Record<string, unknown> };
};
