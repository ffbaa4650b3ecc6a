import { allListKinds, type ListKind, listKindOf, listKinds } from '../../../src/endpoint/list-kinds.js';
import { GatewayError, type InterceptedRequest, type Interceptor } from '../../../src/index.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { Json } from '../scripted-server.js';
import { applyWay, isExtra, ownNameOf, type Way, ways } from './host-ways.js';
import type { Judge } from './judge.js';

type Next = Parameters<Interceptor>[1];
type Waiting = 'before' | 'after' | 'never';

interface Held {
  readonly key: string;
  readonly sinceMs: number;
  go(): void;
}

const listTimeoutMs = 5_000;
const callMethods = ['tools/call', 'prompts/get', 'resources/read', 'completion/complete'];

/** The interceptor of a host that shows each half of its callers other things, and changes its mind. */
export class Host {
  readonly #judge: Judge;
  readonly #isThere: boolean;
  /** By server, method and half of the callers. */
  readonly #ways = new Map<string, Way>();
  readonly #changedAt = new Map<string, number>();
  readonly #waiting = new Map<string, Waiting>();
  readonly #held: Held[] = [];
  /** How often a list came too late because of the host: who was told so once is not told again. */
  readonly #late = new Map<string, number>();
  /** Whether calls reach their servers, whatever it does with them otherwise. */
  letsCallsPass = false;

  constructor(judge: Judge, ids: readonly string[], chance: Chance) {
    this.#judge = judge;
    this.#isThere = chance.oneIn(2);
    for (const id of this.#isThere ? ids : []) {
      chance.oneIn(2) && this.#change(id, chance);
      chance.oneIn(2) && this.#change(id, chance);
    }
  }

  get intercept(): Interceptor | undefined {
    return this.#isThere ? (request, next) => this.#intercept(request, next) : undefined;
  }

  /** What it makes of a server's list for one caller; undefined where that gets none. */
  shown(server: string, kind: ListKind, caller: number, items: readonly Json[]): readonly Json[] | undefined {
    return applyWay(this.#wayOf(server, listKinds[kind].method, caller), kind, server, caller, items);
  }

  /** Whether what it makes of a list is no longer what it was, or never comes. */
  isUnsure(server: string, kind: ListKind, caller: number, since: number): boolean {
    return (this.#changedAt.get(keyOf(server, listKinds[kind].method, caller)) ?? 0) >= since;
  }

  /** Whether it answers without a look at the server. */
  isAlone(server: string, kind: ListKind, caller: number): boolean {
    return ['own', 'throw', 'code', 'nothing', 'no list'].includes(this.#wayOf(server, listKinds[kind].method, caller));
  }

  /** It does something else with one of its lists or calls, or the next one has to wait. */
  change(id: string, chance: Chance): void {
    if (!this.#isThere) {
      return;
    }
    if (chance.oneIn(2)) {
      return this.#change(id, chance);
    }
    const key = keyOf(id, this.#methodOf(chance), chance.below(2));
    const how = chance.one<Waiting>(['before', 'before', 'after', 'after', 'never']);
    this.#waiting.set(key, how);
    this.#judge.log(`the host: the next ${key} waits (${how})`);
  }

  release(chance: Chance): void {
    const [one] = this.#held.splice(chance.below(this.#held.length), 1);
    one && this.#go(one);
  }

  comeToRest(): void {
    this.#waiting.clear();
    for (const held of this.#held.splice(0)) {
      this.#go(held);
    }
  }

  #methodOf(chance: Chance): string {
    return chance.oneIn(3)
      ? chance.one(callMethods as [string, ...string[]])
      : listKinds[chance.one(allListKinds as [ListKind, ...ListKind[]])].method;
  }

  #change(id: string, chance: Chance): void {
    const method = this.#methodOf(chance);
    const key = keyOf(id, method, chance.below(2));
    const way = chance.oneIn(4) ? 'pass' : chance.one(ways);
    this.#ways.set(key, way);
    this.#changedAt.set(key, this.#judge.caused());
    this.#judge.log(`the host: ${key} is ${way}`);
  }

  #wayOf(server: string, method: string, caller: number): Way {
    if (this.letsCallsPass && callMethods.includes(method)) {
      return 'pass';
    }
    return (this.#isThere && this.#ways.get(keyOf(server, method, caller))) || 'pass';
  }

  #go({ key, sinceMs, go }: Held): void {
    if (this.#judge.nowMs() - sinceMs >= listTimeoutMs) {
      const times = (this.#late.get(key) ?? 0) + 1;
      this.#late.set(key, times);
      times > 1 && this.#changedAt.set(key, this.#judge.turn());
    }
    this.#judge.log(`the host goes on with ${key}`);
    go();
  }

  async #intercept(request: InterceptedRequest, next: Next): Promise<Json> {
    const { server, method, params, caller } = request;
    const { c } = caller.data as { c: number };
    const key = keyOf(server, method, c);
    const way = this.#wayOf(server, method, c);
    const waiting = this.#waiting.get(key);
    this.#waiting.delete(key);
    this.#judge.intercepted((params._meta as Json | undefined)?.call, c, server);
    if (waiting !== undefined) {
      this.#judge.count(`host: ${waiting}`);
    }
    waiting === 'before' && (await this.#hold(key));
    if (waiting === 'never') {
      this.#changedAt.set(key, this.#judge.turn());
      await new Promise(() => {});
    }
    const result = await this.#answer(request, next, way, c);
    waiting === 'after' && (await this.#hold(key));
    return result;
  }

  #hold(key: string): Promise<void> {
    return new Promise((go) => this.#held.push({ key, sinceMs: this.#judge.nowMs(), go }));
  }

  async #answer({ server, method, params }: InterceptedRequest, next: Next, way: Way, c: number): Promise<Json> {
    const kind = listKindOf(method);
    this.#judge.count(`host: ${way}`);
    switch (way) {
      case 'throw':
        throw new Error('the host has thrown');
      case 'code':
        throw Object.assign(new Error('not for you'), { code: 4003 });
      case 'gateway error':
        await next();
        throw new GatewayError('SERVER_EXITED', 'as the host says', { server });
      case 'nothing':
        return undefined as unknown as Json;
      case 'no list':
        return {};
    }
    if (kind !== undefined) {
      const { [kind]: items } = way === 'own' ? { [kind]: [] } : await this.#ask(next, way, kind);
      return { [kind]: applyWay(way, kind, server, c, items as Json[]) };
    }
    const ref = params.ref as Json | undefined;
    const own = ownNameOf(params.name ?? params.uri ?? ref?.name ?? ref?.uri);
    if (way === 'own' || isExtra(own)) {
      return {
        content: [],
        messages: [],
        contents: [],
        completion: { values: [] },
        used: { from: server, own },
        for: c,
      };
    }
    way === 'twice' && (await next(this.#rename(params)));
    return { ...(await next(this.#rename(params))), for: c };
  }

  async #ask(next: Next, way: Way, kind: ListKind): Promise<Json> {
    if (way === 'catch') {
      return next().catch(() => ({ [kind]: [] }));
    }
    way === 'twice' && (await next());
    return next();
  }

  /** Back to the server's own names. */
  #rename(params: InterceptedRequest['params']): InterceptedRequest['params'] {
    const { name, ref } = params as { name?: string; ref?: { name?: string } };
    return {
      ...params,
      ...(name !== undefined && { name: ownNameOf(name) }),
      ...(ref?.name !== undefined && { ref: { ...ref, name: ownNameOf(ref.name) } }),
    };
  }
}

function keyOf(server: string, method: string, caller: number): string {
  return `${server} ${method} ${caller % 2}`;
}
