import type { CatalogInput } from '../../../src/index.js';
import type { JSONRPCRequest } from '../../../src/sdk.js';
import { statelessServer } from '../../endpoint/modern-servers.js';
import { hold, type Json, type ScriptedInstance, ScriptedServer } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';
import { ByteRuntime } from './byte-runtime.js';

/** One for each caller, one for all, and one of the stateless era. */
export const serverIds = ['own', 'all', 'new'] as const;
export type ServerId = (typeof serverIds)[number];

/** A call that a server has, until it answers. */
export interface Held {
  readonly instance: ScriptedInstance;
  readonly request: JSONRPCRequest;
}

/** @returns the answer, if it is to come at once */
export type OnCall = (instance: ScriptedInstance, request: JSONRPCRequest) => Json | undefined;

/** The servers behind the hosts: they answer when the schedule says so. */
export class PlayedServers {
  readonly held: Held[] = [];
  readonly servers: Record<ServerId, ScriptedServer>;
  /** Of those that are reached over pipes. */
  readonly bytes: ByteRuntime;
  readonly #byBytes: readonly ServerId[];
  generation = 1;

  constructor(chance: Chance, onCall: OnCall) {
    this.bytes = new ByteRuntime(chance);
    this.#byBytes = serverIds.filter(() => chance.oneIn(2));
    const create = (id: ServerId) => this.#create(id, onCall);
    this.servers = { own: create('own'), all: create('all'), new: create('new') };
  }

  get live(): ScriptedInstance[] {
    return serverIds.flatMap((id) => this.servers[id].live);
  }

  get instances(): ScriptedInstance[] {
    return serverIds.flatMap((id) => this.servers[id].instances);
  }

  get problems(): unknown[] {
    return serverIds.flatMap((id) => this.servers[id].problems);
  }

  /** Changes with whatever comes to one of them. */
  get activity(): number {
    return this.instances.reduce(
      (sum, { received, closed }) => sum + received.length + Number(closed),
      this.bytes.activity,
    );
  }

  get catalog(): CatalogInput {
    return {
      servers: serverIds.map((id) => ({
        id,
        runtime: { ...this.servers[id].runtime, type: this.#byBytes.includes(id) ? 'bytes' : 'in-process' },
        isolation: id === 'own' ? 'caller' : 'shared',
        request_timeout: '60s',
        idle_timeout: '2m',
        on_reload: this.generation % 2 === 0 ? 'now' : 'drain',
        env: { GENERATION: String(this.generation) },
        restart: { max: 1_000, backoff: '1ms', max_backoff: '1ms' },
      })),
    } as CatalogInput;
  }

  #create(id: ServerId, onCall: OnCall): ScriptedServer {
    return new ScriptedServer({
      tools: [{ name: 'go' }, { name: 'now' }],
      capabilities: { tools: { listChanged: true }, logging: {} },
      on: {
        'tools/call': (request, instance) => {
          const answer = onCall(instance, request);
          if (answer === undefined) {
            this.held.push({ instance, request });
          }
          return answer ?? hold;
        },
        ...(id === 'new' && statelessServer().on),
      },
    });
  }
}
