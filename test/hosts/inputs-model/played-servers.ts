import type { CatalogInput } from '../../../src/index.js';
import type { JSONRPCRequest } from '../../../src/sdk.js';
import { statelessServer } from '../../endpoint/modern-servers.js';
import { hold, type ScriptedInstance, ScriptedServer } from '../../endpoint/scripted-server.js';
import type { Chance } from '../../gateway/model/chance.js';
import { type ServerId, serverIds } from './parts.js';

const isolations = { own: 'caller', principals: 'principal', all: 'shared', each: 'request', new: 'shared' } as const;

/** @returns whether it is to be held until the schedule says more */
export type OnCall = (instance: ScriptedInstance, request: JSONRPCRequest) => void;

/** The servers that are called: what they say the schedule decides. */
export class PlayedServers {
  readonly servers: Record<ServerId, ScriptedServer>;
  readonly #timeouts: Readonly<Record<string, string>>;
  readonly #generations: Record<string, number> = {};

  constructor(chance: Chance, onCall: OnCall) {
    this.#timeouts = Object.fromEntries(serverIds.map((id) => [id, chance.one(['60s', '1h'])]));
    this.servers = Object.fromEntries(serverIds.map((id) => [id, create(id, onCall)])) as typeof this.servers;
  }

  get live(): ScriptedInstance[] {
    return serverIds.flatMap((id) => this.servers[id].live);
  }

  get problems(): unknown[] {
    return serverIds.flatMap((id) => this.servers[id].problems);
  }

  /** Changes with whatever comes to one of them. */
  get activity(): number {
    const all = serverIds.flatMap((id) => this.servers[id].instances);
    return all.reduce((sum, { received, closed }) => sum + received.length + Number(closed), 0);
  }

  /** The request of a server may take so long. */
  timeoutMs(id: ServerId): number {
    return this.#timeouts[id] === '60s' ? 60_000 : 3_600_000;
  }

  /** The next catalog has another server of this id. */
  change(id: ServerId): void {
    this.#generations[id] = (this.#generations[id] ?? 0) + 1;
  }

  get catalog(): CatalogInput {
    return {
      servers: serverIds.map((id) => ({
        id,
        runtime: this.servers[id].runtime,
        isolation: isolations[id],
        request_timeout: this.#timeouts[id],
        idle_timeout: '2m',
        on_reload: (this.#generations[id] ?? 0) % 2 === 0 ? 'now' : 'drain',
        env: { GENERATION: String(this.#generations[id] ?? 0) },
        restart: { max: 1_000, backoff: '1ms', max_backoff: '1ms' },
      })),
    } as CatalogInput;
  }
}

function create(id: ServerId, onCall: OnCall): ScriptedServer {
  const take = (request: JSONRPCRequest, instance: ScriptedInstance): typeof hold => {
    onCall(instance, request);
    return hold;
  };
  return new ScriptedServer({
    tools: [{ name: 'go', inputSchema: { type: 'object' } }],
    prompts: [{ name: 'go' }],
    capabilities: { tools: { listChanged: true }, prompts: { listChanged: true }, logging: {} },
    on: {
      'tools/call': take,
      'prompts/get': take,
      ...(id === 'new' && statelessServer().on),
    },
  });
}
