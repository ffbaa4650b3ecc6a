import { GatewayError, type RuntimeContext } from '../../../src/index.js';
import type { JSONRPCRequest, RequestId } from '../../../src/sdk.js';
import { discovery } from '../../endpoint/modern-servers.js';
import { hold, type Json, RpcError, type ScriptedInstance, ScriptedServer } from '../../endpoint/scripted-server.js';
import type { Generation } from './entries.js';
import type { Health } from './health.js';
import type { How } from './judge.js';

const subscriptionId = 'io.modelcontextprotocol/subscriptionId';

/** A call that a server has, until it answers. */
export interface Held {
  readonly instance: ScriptedInstance;
  readonly request: JSONRPCRequest;
  rounds: number;
}

/** What a server remembers besides what came. */
export interface Memory {
  readonly number: number;
  readonly generation: Generation;
  readonly subscribed: Set<string>;
  /** Of the stateless era: by the id of the stream. */
  readonly listens: Map<RequestId, readonly string[]>;
  readonly tasks: Map<string, { readonly mark: Json; isDone: boolean }>;
  /** From which level on it writes to the log, once it was told. */
  level: unknown;
  health: Health;
}

export type Opening = 'at once' | 'wait' | 'fail' | 'die in handshake' | 'die after handshake';

export interface PlayedServersOptions {
  generation(number: unknown): Generation;
  /** A call has come; what is returned is the answer, if it has one already. */
  onCall(instance: ScriptedInstance, request: JSONRPCRequest): Json | undefined;
  opening(context: RuntimeContext): Promise<Opening>;
  /** Somebody asks whether a server lives. */
  onCheck(request: JSONRPCRequest, instance: ScriptedInstance, answer: Json): Json | typeof hold;
  onLevel(instance: ScriptedInstance, level: unknown): void;
  /** A server is about to end by itself. */
  onDeath(instance: ScriptedInstance): void;
}

/** Servers of both eras whose calls are answered when the schedule says so. */
export class PlayedServers {
  readonly held: Held[] = [];
  readonly done: Held[] = [];
  readonly #options: PlayedServersOptions;
  readonly #memories = new Map<ScriptedInstance, Memory>();
  readonly #openings = new Map<RuntimeContext, Opening>();

  constructor(options: PlayedServersOptions) {
    this.#options = options;
  }

  create(id: string): ScriptedServer {
    const isModern = (instance: ScriptedInstance) => this.memory(instance).generation.era === 'modern';
    const listed = (instance: ScriptedInstance) => `v${this.memory(instance).generation.number}`;
    const capabilities = {
      tools: { listChanged: true },
      resources: { listChanged: true, subscribe: true },
      prompts: { listChanged: true },
      completions: {},
      logging: {},
      tasks: { list: {}, cancel: {}, requests: { tools: { call: {} } } },
    };
    return new ScriptedServer({
      capabilities,
      prompts: [{ name: 'ask' }],
      resources: [uriOf(id, 1), uriOf(id, 2)].map((uri) => ({ uri, name: uri })),
      open: async (context) => {
        context.report('starting', { message: `with ${context.env.SECRET}` });
        const opening = await this.#options.opening(context);
        this.#openings.set(context, opening);
        if (opening === 'fail') {
          throw new Error(`no such server, and ${context.env.SECRET}`);
        }
      },
      on: {
        initialize: (request, instance) => {
          if (isModern(instance)) {
            throw new RpcError(-32022, 'no such version', { supported: ['2026-07-28'] });
          }
          this.#dieAsPlanned(instance);
          return {
            protocolVersion: request.params?.protocolVersion,
            capabilities,
            serverInfo: { name: id, version: '1' },
          };
        },
        ping: (request, instance) => this.#options.onCheck(request, instance, {}),
        'server/discover': (request, instance) => {
          if (!isModern(instance)) {
            throw new RpcError(-32601, 'no such method');
          }
          this.#dieAsPlanned(instance);
          const known = discovery({ capabilities: { ...capabilities, tasks: undefined } });
          const isFirst = instance.requests('server/discover').length === 1;
          return isFirst ? known : this.#options.onCheck(request, instance, known);
        },
        'tools/list': (_, instance) => ({
          tools: ['go', 'now', 'denied', listed(instance)].map((name) => ({ name, inputSchema: { type: 'object' } })),
        }),
        'tools/call': (request, instance) => this.#called(request, instance),
        'prompts/get': (request, instance) => this.#called(request, instance),
        'resources/read': (request, instance) => this.#called(request, instance),
        'completion/complete': (request, instance) => this.#called(request, instance),
        'logging/setLevel': (request, instance) => {
          const level = request.params?.level;
          this.#options.onLevel(instance, level);
          this.memory(instance).level = level;
          return {};
        },
        'resources/subscribe': (request, instance) => {
          this.memory(instance).subscribed.add(String(request.params?.uri));
          return {};
        },
        'resources/unsubscribe': (request, instance) => {
          this.memory(instance).subscribed.delete(String(request.params?.uri));
          return {};
        },
        'subscriptions/listen': (request, instance) => {
          const { notifications } = request.params as { notifications?: { resourceSubscriptions?: string[] } };
          this.memory(instance).listens.set(request.id, notifications?.resourceSubscriptions ?? []);
          const _meta = { [subscriptionId]: request.id };
          instance.notify('notifications/subscriptions/acknowledged', { notifications, _meta });
          return hold;
        },
        'tasks/get': (request, instance) => this.#task(request, instance),
        'tasks/cancel': (request, instance) => {
          const task = this.#task(request, instance);
          (this.memory(instance).tasks.get(String(request.params?.taskId)) as { isDone: boolean }).isDone = true;
          return { ...task, status: 'cancelled' };
        },
        'tasks/result': (request, instance) => {
          this.#task(request, instance);
          const { mark } = this.memory(instance).tasks.get(String(request.params?.taskId)) as { mark: Json };
          return { content: [], structuredContent: mark };
        },
        'tasks/list': (_, instance) => ({
          tasks: [...this.memory(instance).tasks].map(([taskId, { mark, isDone }]) => ({
            taskId,
            status: isDone ? 'completed' : 'working',
            ...mark,
          })),
        }),
      },
    });
  }

  die(instance: ScriptedInstance): void {
    // Whom nobody listens to yet, nobody hears of either.
    if (!instance.closed && instance.onclose !== undefined) {
      this.#options.onDeath(instance);
      const { server, env } = instance.context;
      const exit = { code: 1, stderrTail: `the last word is ${env.SECRET}` };
      instance.onerror?.(new GatewayError('SERVER_EXITED', `the server exited with ${env.SECRET}`, { server, exit }));
      instance.die();
    }
  }

  memory(instance: ScriptedInstance): Memory {
    let memory = this.#memories.get(instance);
    if (memory === undefined) {
      const generation = this.#options.generation(instance.context.env.GENERATION);
      const number = this.#memories.size + 1;
      const known = { subscribed: new Set<string>(), listens: new Map(), tasks: new Map() };
      memory = { number, generation, ...known, level: undefined, health: 'well' };
      this.#memories.set(instance, memory);
    }
    return memory;
  }

  /** Tells those who are subscribed that a resource has changed, once for each subscription that the server knows of. */
  update(instance: ScriptedInstance, uri: string, number: number): void {
    const { generation, subscribed, listens } = this.memory(instance);
    const params = { uri, update: number };
    if (generation.era === 'legacy') {
      subscribed.has(uri) && instance.notify('notifications/resources/updated', params);
      return;
    }
    for (const [id, uris] of this.#open(instance, listens)) {
      uris.includes(uri) &&
        instance.notify('notifications/resources/updated', { ...params, _meta: { [subscriptionId]: id } });
    }
  }

  /** Whether the server knows of a subscription. */
  knows(instance: ScriptedInstance, uri: string): boolean {
    const { subscribed, listens } = this.memory(instance);
    return subscribed.has(uri) || this.#open(instance, listens).some(([, uris]) => uris.includes(uri));
  }

  #open(instance: ScriptedInstance, listens: Memory['listens']): [RequestId, readonly string[]][] {
    const ended = instance.notifications('notifications/cancelled').map(({ params }) => params?.requestId);
    return [...listens].filter(([id]) => !ended.includes(id));
  }

  #called(request: JSONRPCRequest, instance: ScriptedInstance): Json | typeof hold {
    const answer = this.#options.onCall(instance, request);
    if (answer === undefined) {
      const rounds = request.params?.inputResponses === undefined ? 0 : 1;
      this.held.push({ instance, request, rounds });
      return hold;
    }
    return answer;
  }

  #task(request: JSONRPCRequest, instance: ScriptedInstance): Json {
    const taskId = String(request.params?.taskId);
    const task = this.memory(instance).tasks.get(taskId);
    if (task === undefined) {
      throw new RpcError(-32602, 'no such task');
    }
    return { taskId, status: task.isDone ? 'completed' : 'working', ttl: 60_000, ...task.mark };
  }

  #dieAsPlanned(instance: ScriptedInstance): void {
    const opening = this.#openings.get(instance.context);
    opening === 'die in handshake' && this.die(instance);
    opening === 'die after handshake' && setImmediate(() => this.die(instance));
  }
}

/** What a call says of itself: in its arguments, or in `_meta` where a method has none that are its caller's. */
export function markOf(params: unknown): { readonly n?: number; readonly c?: number; readonly how?: How } {
  const { arguments: given, _meta } = (params ?? {}) as { arguments?: Json; _meta?: Json };
  return (given ?? _meta?.mark ?? {}) as ReturnType<typeof markOf>;
}

/** Never given out to a server as ids or tokens. */
export const foreign: readonly unknown[] = [0, -1, '', 'x', 1_000_000, null, {}, true, 1.5];

export function uriOf(server: string, number: number): string {
  return `x://${server}/${number}`;
}
