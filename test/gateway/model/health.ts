import type { JSONRPCRequest } from '../../../src/sdk.js';
import { hold, type Json, RpcError, type ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Chance } from './chance.js';
import type { Judge } from './judge.js';

/** With an error a server answers too, and so it lives. */
export type Health = 'well' | 'refuses' | 'slow' | 'silent';

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
    // Who has kept silent once does so for good.
    if (memory.health === 'silent' || instance.received.length === 0) {
      return;
    }
    memory.health = chance.one<Health>(['well', 'refuses', 'slow', 'silent']);
    this.#judge.log(`${this.#judge.name(instance)} is ${memory.health}`);
    if (memory.health === 'silent') {
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

  /** Whoever is watched does not go on without an answer. */
  check(): void {
    for (const [instance, { sinceMs }] of this.#silent) {
      const { settings } = this.#judge.entries.of(instance.context.server);
      const isWatched = (settings.health as Json | undefined)?.interval !== 0;
      const isUsed = [...this.#judge.calls.values()].some(
        ({ at, member }) => at?.instance === instance && member.to === undefined,
      );
      if (isWatched && isUsed && !instance.closed && this.#judge.nowMs() - sinceMs > longestMs) {
        this.#judge.problem(`${this.#judge.name(instance)} goes on, and answers nobody who asks whether it lives`);
      }
    }
  }
}
