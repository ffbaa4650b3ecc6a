import type { Caller, Gateway } from '../../../src/index.js';
import type { JSONRPCMessage, RequestId, Transport } from '../../../src/sdk.js';
import { envelope } from '../../endpoint/modern-caller.js';
import type { Json } from '../../endpoint/scripted-server.js';
import type { Chance } from './chance.js';
import { type Entries, type Era, type Isolation, serverIds } from './entries.js';
import { FetchLine } from './fetch-line.js';
import type { Sent } from './judge.js';
import { levels, metaLevel } from './levels.js';
import { tasksExtension } from './played-tasks.js';
import { markOf } from './servers.js';

export const kinds = [
  'merged',
  'merged modern',
  'raw',
  'raw as legacy',
  'raw as modern',
  'fetch',
  'fetch modern',
] as const;

/** A question that a member has before it. */
export interface Asked {
  /** Of a session; or what the answer to a stateless call holds. */
  readonly id: RequestId | undefined;
  readonly number: unknown;
  readonly method: string;
  readonly params: Json;
  /** At least once. */
  isAnswered?: boolean;
  /** The caller has gone on with the call and answered another question of the same round, or waits for the task no more. */
  isLeft?: boolean;
  /** The task that needs it, and under which key. */
  readonly task?: { readonly taskId: unknown; readonly key: string };
  /** The stateless call that needs it, with what belongs to the answer. */
  readonly of?: { readonly sent: Sent; readonly state: unknown; readonly key: string };
}

/** One connection, or one client over HTTP, and what it remembers. */
export interface Member {
  readonly index: number;
  readonly kind: (typeof kinds)[number];
  readonly era: Era;
  /** The only server that it is connected to. */
  readonly to: string | undefined;
  readonly caller: Caller | undefined;
  readonly seen: { readonly servers?: readonly string[]; readonly tags?: readonly string[] };
  readonly capabilities: Json;
  readonly open: Map<RequestId, Sent>;
  /** Ids that were cancelled since the last pause: an answer may have crossed the cancellation. */
  readonly crossing: Map<RequestId, Sent>;
  readonly asked: Asked[];
  /** Of what servers have said: what must not come again. */
  readonly heard: Set<string>;
  /** By URI: whether the subscription is acknowledged. */
  readonly subscriptions: Map<string, 'asked' | 'made' | 'ending'>;
  /** From which level on it wants the log: of the stateless era with each request, else as it was last answered. */
  level: string | undefined;
  /** It has not asked for another one since. */
  isLevelSettled: boolean;
  /** All that it has ever asked for. */
  readonly levels: Set<unknown>;
  send(message: Json): Promise<void>;
  /** Whether its transport was started. */
  hasStarted: boolean;
  /** Whether what it sends goes out at once, and not after a start. */
  isReady: boolean;
  /** It has left. */
  hasLeft: boolean;
  /** Its transport has closed, so many times. */
  closes: number;
  leave(): Promise<void>;
}

export interface Wires {
  readonly gateway: Gateway;
  readonly entries: Entries;
  /** Much of what happens is about tasks. */
  readonly isAboutTasks: boolean;
  onMessage(member: Member, message: Json): void;
  onClose(member: Member): void;
  onUnanswered(member: Member, id: unknown, why: string): void;
  onStart(member: Member, starting: Promise<void>): void;
  problem(text: string): void;
}

/** Joins, in one of the ways in which a caller can. */
export function join(index: number, chance: Chance, wires: Wires): Member | undefined {
  const { gateway, entries } = wires;
  const kind = chance.one(kinds);
  const isFetch = kind.startsWith('fetch');
  // Who has several programs reaches its tasks with each.
  const isSame = wires.isAboutTasks && isFetch && chance.oneIn(2);
  const who = isSame ? { id: 'same', principal: 'p', data: { c: index } } : chooseCaller(index, isFetch, chance);
  const tags = chance.oneIn(4) ? ['t'] : undefined;
  const servers = chance.oneIn(5)
    ? serverIds.filter((each) => entries.ids.includes(each) && !chance.oneIn(2))
    : undefined;
  const seen = { ...(tags && { tags }), ...(servers && { servers }) };
  const to = kind.startsWith('raw') ? chance.pick(entries.ids) : undefined;
  if (kind.startsWith('raw')) {
    if (to === undefined || entries.of(to).generation.isolation === 'request') {
      return undefined;
    }
  }
  const era: Era = kind.endsWith('modern')
    ? 'modern'
    : kind === 'raw' && entries.of(to as string).generation.isolation === 'caller'
      ? entries.of(to as string).generation.era
      : 'legacy';
  const capabilities: Json = chance.one<Json>([
    {},
    { sampling: {} },
    { sampling: {}, elicitation: {} },
    { sampling: {}, elicitation: {}, roots: { listChanged: true } },
  ]);
  if (era === 'modern' && (wires.isAboutTasks || chance.oneIn(2))) {
    capabilities.extensions = { [tasksExtension]: {} };
  }
  const level = era === 'modern' && chance.oneIn(2) ? chance.one(levels) : undefined;
  const member: Member = {
    index,
    kind,
    era,
    to,
    caller: who,
    seen: to === undefined ? seen : {},
    capabilities,
    open: new Map(),
    crossing: new Map(),
    asked: [],
    subscriptions: new Map(),
    heard: new Set(),
    level,
    isLevelSettled: true,
    levels: new Set([level]),
    hasStarted: false,
    isReady: isFetch && era === 'modern',
    hasLeft: false,
    closes: 0,
    ...(isFetch ? fetchLine() : transportLine()),
  };
  return member;

  function fetchLine() {
    const polite = chance.oneIn(2);
    const line = new FetchLine({
      gateway,
      era,
      ...seen,
      callerOf: ({ params }) => ({ ...(who as Caller), data: { c: index, n: markOf(params).n } }),
      onMessage: (message) => wires.onMessage(member, message),
      onUnanswered: (unanswered, why) => wires.onUnanswered(member, unanswered, why),
    });
    const listens = era === 'legacy' && chance.oneIn(2);
    return {
      async send(message: Json) {
        await line.send(message);
        member.isReady = true;
        if (listens && message.method === 'initialize') {
          line.listen().catch((error: unknown) => wires.problem(`the stream of ${index} failed: ${String(error)}`));
        }
      },
      leave: () => line.close(polite),
    };
  }

  function transportLine() {
    const transport: Transport =
      to === undefined
        ? gateway.connect({ caller: who, ...seen })
        : gateway.connect(to, {
            caller: who,
            ...(kind === 'raw as legacy' && { era: 'legacy' as const }),
            ...(kind === 'raw as modern' && { era: 'modern' as const }),
          });
    transport.onmessage = (message) => wires.onMessage(member, message as unknown as Json);
    transport.onclose = () => wires.onClose(member);
    transport.onerror = () => {};
    let started: Promise<void> | undefined;
    return {
      async send(message: Json) {
        if (started === undefined) {
          member.hasStarted = true;
          started = transport.start();
          wires.onStart(member, started);
        }
        await started;
        member.isReady = true;
        await transport.send({ jsonrpc: '2.0', ...message } as unknown as JSONRPCMessage);
      },
      leave: () => transport.close(),
    };
  }
}

/** With an id or without, of a principal or of none; a host need not say anything. One id is of one principal. */
function chooseCaller(index: number, isFetch: boolean, chance: Chance): Caller | undefined {
  const alone = isFetch ? `f${index}` : undefined;
  const id = chance.one([alone, alone, 'same', 'other', `own ${index}`]);
  const principal = chance.one([undefined, 'p', 'q']);
  const data = { c: index };
  if (!isFetch && chance.oneIn(8)) {
    return undefined;
  }
  return { id, principal: id === 'same' ? 'p' : id === 'other' ? undefined : principal, data };
}

/** Whether it is still connected. */
export function isThere({ hasLeft, closes }: Member): boolean {
  return !hasLeft && closes === 0;
}

/** What a request of a member's era needs in its params. */
export function withEnvelope(member: Member, params: Json): Json {
  if (member.era === 'legacy') {
    return params;
  }
  const { _meta, ...rest } = params;
  const level = member.level === undefined ? {} : { [metaLevel]: member.level };
  return { ...rest, _meta: { ...envelope(member.capabilities, level), ...(_meta as Json | undefined) } };
}

/** With whom a member shares instances of a server. */
export function groupOf(member: Member, isolation: Isolation): string {
  const { caller, index, to } = member;
  const alone = `connection ${index}`;
  if (isolation === 'shared') {
    return 'everybody';
  }
  if (isolation === 'principal' && caller?.principal !== undefined) {
    return `principal ${caller.principal}`;
  }
  return caller?.id === undefined || (to !== undefined && isolation === 'caller') ? alone : `caller ${caller.id}`;
}

export function isForCallers(group: string | undefined): boolean {
  return group === 'everybody' || group?.startsWith('principal ') === true;
}
