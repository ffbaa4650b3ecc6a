import { allListKinds, type ListKind, listKinds } from '../../../src/endpoint/list-kinds.js';
import type { JSONRPCRequest, RequestId } from '../../../src/sdk.js';
import type { Chance } from '../../gateway/model/chance.js';
import { discovery } from '../modern-servers.js';
import { hold, type Json, RpcError, type ScriptedInstance, ScriptedServer } from '../scripted-server.js';
import type { Catalog, Generation } from './catalog.js';
import { type Content, createContent, keys, markOf, withOther } from './content.js';
import type { Judge } from './judge.js';

const subscriptionId = 'io.modelcontextprotocol/subscriptionId';

/** What one running server has, and what it has said of that. */
export interface Memory {
  readonly number: number;
  readonly generation: Generation;
  content: Content;
  /** Of the stateless era: the stream on which it tells of its lists. */
  stream: { readonly id: RequestId; readonly filter: Json } | undefined;
  /** When a list changed last without a word. */
  readonly silent: Map<ListKind, number>;
}

export type Answering = 'wait' | 'fail' | 'never';
export type Opening = 'at once' | 'wait' | 'fail';

const requestTimeoutMs = 30_000;

interface Held {
  readonly instance: ScriptedInstance;
  readonly request: JSONRPCRequest;
  readonly kind: ListKind;
  readonly sinceMs: number;
}

/** Servers of both eras whose lists change, come late, break off, or never come. */
export class Played {
  readonly servers: ReadonlyMap<string, ScriptedServer>;
  readonly held: Held[] = [];
  nextOpen: Opening = 'at once';
  readonly doors: (() => void)[] = [];
  /** How the next page of a list is answered. */
  readonly answering = new Map<string, Answering>();
  readonly #judge: Judge;
  readonly #catalog: Catalog;
  readonly #long: string | undefined;
  readonly #next = new Map<string, Content>();
  readonly #memories = new Map<ScriptedInstance, Memory>();

  constructor(judge: Judge, catalog: Catalog, ids: readonly string[], chance: Chance) {
    this.#judge = judge;
    this.#catalog = catalog;
    this.#long = chance.oneIn(15) ? chance.pick(ids) : undefined;
    for (const id of ids) {
      this.#next.set(id, createContent(id, chance, this.#long));
    }
    this.servers = new Map(ids.map((id) => [id, this.#create(id)]));
  }

  get live(): ScriptedInstance[] {
    return [...this.servers.values()].flatMap(({ live }) => live);
  }

  memory(instance: ScriptedInstance): Memory {
    let memory = this.#memories.get(instance);
    if (memory === undefined) {
      const { server, env } = instance.context;
      const generation = this.#catalog.generation(env.GENERATION);
      const content = this.nextOf(server);
      memory = { number: this.#memories.size + 1, generation, content, stream: undefined, silent: new Map() };
      this.#memories.set(instance, memory);
      this.#judge.caused();
      this.#judge.log(`${this.name(instance)} starts`);
    }
    return memory;
  }

  /** What the next start of a server has. */
  nextOf(id: string): Content {
    return this.#next.get(id) as Content;
  }

  /** What a server has of a list, as far as anybody may know of it. */
  itemsOf(instance: ScriptedInstance, kind: ListKind): readonly Json[] {
    const { content } = this.memory(instance);
    return content.declared[listKinds[kind].capability] === undefined ? [] : content.items[kind];
  }

  /** Where each request starts a server: what the next one has; undefined where that is not sure. */
  itemsOfNext(id: string, generation: Generation, caller: number, kind: ListKind): readonly Json[] | undefined {
    const own = (this.servers.get(id)?.instances ?? []).filter(
      ({ context }) => Number(context.env.GENERATION) === generation.number && callerOf(context) === caller,
    );
    const { items, declared } = this.nextOf(id);
    const { capability } = listKinds[kind];
    // What one has declared counts for those that come after it.
    const isSure = [...own.map((instance) => this.memory(instance).content.declared), declared].every(
      (each) => each[capability] !== undefined,
    );
    return own.length > 0 && isSure ? items[kind] : undefined;
  }

  /** Starts from now on have something else, and so may what runs. */
  change(id: string, chance: Chance): void {
    this.#next.set(id, createContent(id, chance, this.#long));
    this.#judge.log(`the next start of ${id} has other lists`);
  }

  /** One list of what runs becomes another one; then it says so, or does not. */
  changeRunning(instance: ScriptedInstance, chance: Chance): void {
    const memory = this.memory(instance);
    const kind = chance.one<ListKind>(['tools', 'tools', 'prompts', 'resources', 'resourceTemplates']);
    memory.content = withOther(memory.content, kind, instance.context.server, chance);
    const times = chance.one([1, 1, 1, 1, 3, 0]);
    this.#judge.log(`${this.name(instance)} has other ${kind}, and says so ${times} times`);
    this.#judge.count(times === 0 ? 'silent change' : 'change');
    memory.silent.set(kind, this.#judge.caused());
    for (let time = 0; time < times; time += 1) {
      this.announce(instance, kind);
    }
  }

  announce(instance: ScriptedInstance, kind: ListKind): void {
    const memory = this.memory(instance);
    const { changed, capability } = listKinds[kind];
    if (memory.generation.era === 'modern') {
      const { id, filter } = memory.stream ?? {};
      if (filter?.[`${capability}ListChanged`] !== true) {
        return;
      }
      instance.notify(changed, { _meta: { [subscriptionId]: id } });
    } else {
      if (instance.onmessage === undefined || instance.requests('initialize').length === 0) {
        return;
      }
      instance.notify(changed);
    }
    this.#judge.caused();
    for (const each of allListKinds) {
      listKinds[each].changed === changed && memory.silent.delete(each);
    }
  }

  die(instance: ScriptedInstance): void {
    if (!instance.closed && instance.onclose !== undefined) {
      this.#judge.log(`${this.name(instance)} dies`);
      this.#judge.count('death');
      this.#judge.caused();
      instance.die();
    }
  }

  /** Answers what was held, with what it has by now. */
  release({ instance, request, kind, sinceMs }: Held): void {
    if (this.#judge.nowMs() - sinceMs >= requestTimeoutMs) {
      this.#judge.failed(instance.context.server, kind);
    }
    if (!instance.closed) {
      this.#judge.log(`${this.name(instance)} answers ${request.method} late`);
      instance.answer(request, this.#page(instance, request, kind));
    }
  }

  openDoors(): void {
    for (const open of this.doors.splice(0)) {
      open();
    }
  }

  name(instance: ScriptedInstance): string {
    const { number, generation } = this.memory(instance);
    const { server, caller } = instance.context;
    return `${server}/${number} (${generation.era}, ${generation.isolation}, of ${JSON.stringify(caller?.data ?? caller)})`;
  }

  #create(id: string): ScriptedServer {
    const isModern = (instance: ScriptedInstance) => this.memory(instance).generation.era === 'modern';
    const on: NonNullable<ScriptedServer['script']['on']> = {
      initialize: (request, instance) => {
        if (isModern(instance)) {
          throw new RpcError(-32022, 'no such version', { supported: ['2026-07-28'] });
        }
        const { protocolVersion } = request.params ?? {};
        const { declared } = this.memory(instance).content;
        return { protocolVersion, capabilities: declared, serverInfo: { name: id, version: '1' } };
      },
      'server/discover': (_, instance) => {
        if (!isModern(instance)) {
          throw new RpcError(-32601, 'no such method');
        }
        return discovery({ capabilities: this.memory(instance).content.declared });
      },
      'subscriptions/listen': (request, instance) => {
        const notifications = request.params?.notifications as Json;
        if (notifications.resourceSubscriptions === undefined) {
          this.memory(instance).stream = { id: request.id, filter: notifications };
        }
        const _meta = { [subscriptionId]: request.id };
        instance.notify('notifications/subscriptions/acknowledged', { notifications, _meta });
        return hold;
      },
    };
    for (const kind of allListKinds) {
      on[listKinds[kind].method] = (request, instance) => this.#list(instance, request, kind);
    }
    for (const method of [
      'tools/call',
      'prompts/get',
      'resources/read',
      'completion/complete',
      'resources/subscribe',
      'resources/unsubscribe',
    ]) {
      on[method] = (request, instance) => this.#used(instance, request);
    }
    return new ScriptedServer({ on, open: () => this.#open(id) });
  }

  async #open(id: string): Promise<void> {
    const how = this.nextOpen;
    this.nextOpen = 'at once';
    if (how === 'wait') {
      await new Promise<void>((resolve) => this.doors.push(resolve));
    } else if (how === 'fail') {
      this.#judge.log(`a start of ${id} fails`);
      this.#judge.count('failed start');
      this.#judge.caused();
      throw new Error('no such server');
    }
  }

  #list(instance: ScriptedInstance, request: JSONRPCRequest, kind: ListKind): Json | typeof hold {
    const key = `${instance.context.server} ${kind}`;
    const how = this.answering.get(key);
    this.answering.delete(key);
    if (how !== undefined) {
      this.#judge.log(`${this.name(instance)} is asked ${request.method}: ${how}`);
      this.#judge.count(`list: ${how}`);
      this.#judge.caused();
    }
    switch (how) {
      case 'wait':
        this.held.push({ instance, request, kind, sinceMs: this.#judge.nowMs() });
        return hold;
      case 'never':
        this.#judge.failed(instance.context.server, kind);
        return hold;
      case 'fail':
        this.#judge.failed(instance.context.server, kind);
        throw new RpcError(-32050, 'no');
      default:
        return this.#page(instance, request, kind);
    }
  }

  #page(instance: ScriptedInstance, request: JSONRPCRequest, kind: ListKind): Json {
    const { content, generation } = this.memory(instance);
    const items = content.items[kind];
    this.#judge.log(`${this.name(instance)} answers ${request.method} ${JSON.stringify(request.params?.cursor ?? '')}`);
    const start = Number(request.params?.cursor ?? 0);
    const end = start + content.pageSize;
    const page = items.slice(start, end);
    const { ttlMs, cacheScope } = content;
    if (generation.era === 'modern') {
      this.#judge.served(page.map(markOf), ttlMs, cacheScope === 'public');
    } else {
      const declared = content.declared[listKinds[kind].capability] as { listChanged?: boolean } | undefined;
      this.#judge.served(
        page.map(markOf),
        declared?.listChanged === true && generation.isolation !== 'request' ? 60_000 : 0,
        false,
      );
    }
    return {
      [kind]: page,
      ...(end < items.length && { nextCursor: String(end) }),
      ...(generation.era === 'modern' && { resultType: 'complete', ttlMs, cacheScope }),
    };
  }

  #used(instance: ScriptedInstance, request: JSONRPCRequest): Json {
    const { server } = instance.context;
    const ref = request.params?.ref as Json | undefined;
    const own = String(request.params?.name ?? request.params?.uri ?? ref?.name ?? ref?.uri);
    this.#judge.arrived(server, request.method, own, request.params?._meta?.call);
    if (request.method.startsWith('resources/') && request.method !== 'resources/read') {
      return {};
    }
    const empty = {
      'tools/call': { content: [] },
      'prompts/get': { messages: [] },
      'resources/read': { contents: [] },
      'completion/complete': { completion: { values: [] } },
    }[request.method];
    const isModern = this.memory(instance).generation.era === 'modern';
    return { ...(isModern && { resultType: 'complete' }), ...empty, used: { from: server, own } };
  }
}

export function keyOf(kind: ListKind, item: Json): string {
  return String(item[keys[kind]]);
}

function callerOf({ caller }: ScriptedInstance['context']): unknown {
  return (caller?.data as { c?: number } | undefined)?.c;
}
