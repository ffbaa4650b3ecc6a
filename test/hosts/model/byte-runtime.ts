import type { RuntimeContext, RuntimeFactory, RuntimeTransport } from '../../../src/index.js';
import { StreamTransport } from '../../../src/transport/stream-transport.js';
import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import { BytePeer } from './byte-peer.js';

export interface ByteSpec {
  readonly server: (context: RuntimeContext) => Promise<unknown>;
}

/** Played servers that are reached over pipes, as processes are. */
export class ByteRuntime implements RuntimeFactory<ByteSpec> {
  readonly type = 'bytes';
  readonly spec: RuntimeFactory<ByteSpec>['spec'] = {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value: value as ByteSpec }) },
  };
  readonly supports = { env: true, stderr: false, exit: true } as const;
  readonly peers = new Map<ScriptedInstance, BytePeer>();
  readonly #chance: Chance;

  constructor(chance: Chance) {
    this.#chance = chance;
  }

  /** Changes with whatever passes through a pipe. */
  get activity(): number {
    return [...this.peers.values()].reduce((sum, { activity }) => sum + activity, 0);
  }

  /** Those that run. */
  get live(): BytePeer[] {
    return [...this.peers].flatMap(([instance, peer]) => (instance.closed ? [] : [peer]));
  }

  async open(spec: ByteSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    const { server, clock, limits } = context;
    const instance = (await spec.server(context)) as ScriptedInstance;
    const peer = new BytePeer(instance, createChance(this.#chance.below(2 ** 31)), clock);
    this.peers.set(instance, peer);
    return new StreamTransport(peer, { server, maxMessageBytes: limits.maxMessageBytes, clock });
  }
}
