import type { JSONRPCRequest } from '../../../src/sdk.js';
import { hold, type Json, RpcError, type ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Chance } from './chance.js';
import type { Judge } from './judge.js';

/** With an error a server answers too, and so it lives. */
export type Health = 'well' | 'refuses' | 'slow' | 'silent' | 'dead';

/** Longer than any entry lets a server keep silent. */
const longestMs = 130_000;

/** How servers answer whoever asks whether they live, and which of them have to end for that. */
export class Healths {
  readonly #judge: Judge;
  readonly #silent = new Map<ScriptedInstance, { readonly sinceMs: number; end(): void }>();
  readonly #slow: { readonly instance: ScriptedInstance; readonly request: JSONRPCRequest; end(): void }[] = [];

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  change(instance: ScriptedInstance, chance: Chance): void {
    const memory = this.#judge.servers.memory(instance);
    // Who has kept silent once does so for good, and who is dead is so.
    if (memory.health === 'silent' || memory.health === 'dead' || instance.received.length === 0) {
      return;
    }
    memory.health = chance.one<Health>(['well', 'refuses', 'slow', 'silent', 'dead']);
    this.#judge.log(`${this.#judge.name(instance)} is ${memory.health}`);
    if (memory.health === 'silent' || memory.health === 'dead') {
      const end = this.#judge.causes.begin('unhealthy', instance.context.server);
      this.#silent.set(instance, { sinceMs: this.#judge.nowMs(), end });
    }
  }

  asked(request: JSONRPCRequest, instance: ScriptedInstance, answer: Json): Json | typeof hold {
    const { health } = this.#judge.servers.memory(instance);
    this.#judge.count(`asked, and ${health}`);
    switch (health) {
      case 'refuses':
        throw new RpcError(-32603, 'not now');
      case 'slow':
        this.#slow.push({ instance, request, end: this.#judge.causes.begin('unhealthy', instance.context.server) });
        return hold;
      case 'silent':
        return hold;
      default:
        return answer;
    }
  }

  /** A runtime is asked: of one that is dead it knows, and of others that keep silent it waits for a sign. */
  async live(instance: ScriptedInstance, signal: AbortSignal): Promise<void> {
    const { health } = this.#judge.servers.memory(instance);
    if (health === 'silent') {
      await new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason)));
    } else if (health === 'dead') {
      throw new Error('it is dead');
    }
  }

  /** Those who are slow answer at last. */
  answer(): void {
    for (const { instance, request, end } of this.#slow.splice(0)) {
      instance.closed || instance.answer(request, { resultType: 'complete', supportedVersions: ['2026-07-28'] });
      end();
    }
  }

  /** Forgets those who have ended. */
  look(): void {
    for (const [instance, { end }] of this.#silent) {
      if (instance.closed) {
        end();
        this.#silent.delete(instance);
      }
    }
  }

  /** Whether an instance of this server still keeps silent, when it is asked by somebody else too. */
  isSilent(id: string): boolean {
    return [...this.#silent.keys()].some((instance) => !instance.closed && instance.context.server === id);
  }

  /** Whoever is watched does not go on without an answer. */
  check(): void {
    for (const [instance, { sinceMs }] of this.#silent) {
      const { settings, mebibytes } = this.#judge.entries.of(instance.context.server);
      const isKnown = mebibytes !== undefined || this.#judge.servers.memory(instance).health === 'silent';
      const isWatched = (settings.health as Json | undefined)?.interval !== 0;
      const isUsed = [...this.#judge.calls.values()].some(
        ({ at, member }) => at?.instance === instance && member.to === undefined,
      );
      if (isKnown && isWatched && isUsed && !instance.closed && this.#judge.nowMs() - sinceMs > longestMs) {
        this.#judge.problem(`${this.#judge.name(instance)} goes on, and answers nobody who asks whether it lives`);
      }
    }
  }
}
