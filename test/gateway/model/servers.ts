import { GatewayError, type RuntimeContext } from '../../../src/index.js';
import type { JSONRPCRequest, RequestId } from '../../../src/sdk.js';
import { discovery } from '../../endpoint/modern-servers.js';
import { hold, type Json, RpcError, type ScriptedInstance, ScriptedServer } from '../../endpoint/scripted-server.js';
import type { Generation } from './entries.js';
import type { Health } from './health.js';
import type { How } from './judge.js';
import { PlayedTasks, type PlayedTasksOptions, tasksExtension } from './played-tasks.js';

/** What all of them have, besides one that tells of which generation it is. */
export const tools = ['go', 'now', 'denied', 'slow'] as const;

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
  readonly tasks: PlayedTasks;
  /** From which level on it writes to the log, once it was told. */
  level: unknown;
  health: Health;
}

export type Opening = 'at once' | 'wait' | 'fail' | 'die in handshake' | 'die after handshake';

export interface PlayedServersOptions extends PlayedTasksOptions {
  generation(number: unknown): Generation;
  /** A call has come; what is returned is the answer, if it has one already. */
  onCall(instance: ScriptedInstance, request: JSONRPCRequest): Json | undefined;
  opening(context: RuntimeContext): Promise<Opening>;
  /** Somebody asks whether a server lives. */
  onCheck(request: JSONRPCRequest, instance: ScriptedInstance, answer: Json): Json | typeof hold;
  onLevel(instance: ScriptedInstance, level: unknown): void;
  /** A server is ended by the gateway. */
  onClose(instance: ScriptedInstance): void;
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
  /** How many each has begun. */
  readonly #tasks = new Map<ScriptedServer, number>();

  constructor(options: PlayedServersOptions) {
    this.#options = options;
  }

  create(id: string): ScriptedServer {
    const isModern = (instance: ScriptedInstance) => this.memory(instance).generation.era === 'modern';
    const listed = (instance: ScriptedInstance) => `v${this.memory(instance).generation.number}`;
    const onTask = (request: JSONRPCRequest, instance: ScriptedInstance) => this.memory(instance).tasks.answer(request);
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
          const extensions = { [tasksExtension]: {} };
          const known = discovery({ capabilities: { ...capabilities, tasks: undefined, extensions } });
          const isFirst = instance.requests('server/discover').length === 1;
          return isFirst ? known : this.#options.onCheck(request, instance, known);
        },
        'tools/list': (_, instance) => ({
          tools: [...tools, listed(instance)].map((name) => ({
            name,
            inputSchema: { type: 'object' },
            ...(name === 'slow' && !isModern(instance) && { execution: { taskSupport: 'required' } }),
          })),
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
        'tasks/get': onTask,
        'tasks/update': onTask,
        'tasks/cancel': onTask,
        'tasks/result': onTask,
        'tasks/list': onTask,
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
      const tasks = new PlayedTasks(instance, generation.era, () => this.#nextTask(instance.server), this.#options);
      const known = { subscribed: new Set<string>(), listens: new Map(), tasks };
      memory = { number, generation, ...known, level: undefined, health: 'well' };
      this.#memories.set(instance, memory);
      const close = instance.close.bind(instance);
      instance.close = () => {
        instance.closed || this.#options.onClose(instance);
        return close();
      };
    }
    return memory;
  }

  /** An id that the next instance does not give out again, but every other server does. */
  #nextTask(server: ScriptedServer): string {
    const number = (this.#tasks.get(server) ?? 0) + 1;
    this.#tasks.set(server, number);
    return `t${number}`;
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
