import type { Gateway, GatewayEvent, GatewayLimits, GatewayOptions, ServerDescription } from '../../../src/index.js';
import { nextPhases } from '../../../src/instance/phase-machine.js';
import type { Chance } from './chance.js';
import type { Entries } from './entries.js';
import type { Judge } from './judge.js';
import { tools } from './servers.js';

/** Of all servers, where they are limited. */
export const mostMebibytes = 1_024;

type PhaseEvent = Extract<GatewayEvent, { readonly type: 'phase' }>;

/**
 * What the host gives to its gateway besides the catalog, and what it is told: events and status are held against each other,
 * and none of them may hold a secret.
 */
export class Host {
  readonly limits: GatewayLimits | undefined;
  /** Whether it is asked what may start. */
  readonly authorizes: boolean;
  /** Of which it allows no start. */
  readonly refused = new Map<string, () => void>();
  /** Waits for this before it says next what may start. */
  door: Promise<void> | undefined;
  readonly #judge: Judge;
  readonly #last = new Map<string, PhaseEvent>();
  readonly #isAsked = new Set<string>();
  readonly #allowed = new Set<string>();
  readonly #env: NonNullable<GatewayOptions['env']>;
  #secrets = 0;

  constructor(judge: Judge, chance: Chance) {
    this.#judge = judge;
    const memory = chance.oneIn(2) ? `${mostMebibytes}MiB` : undefined;
    const limits = { instances: 2 + chance.below(4), starting: 1 + chance.below(3), memory };
    this.limits = chance.oneIn(3) ? limits : undefined;
    this.authorizes = chance.oneIn(3);
    // Another secret each time.
    const env = () => ({ SECRET: `hush-${this.#secrets++}` });
    this.#env = chance.oneIn(2) ? env() : async () => env();
  }

  get options(): GatewayOptions {
    return {
      env: this.#env,
      limits: this.limits,
      onEvent: (event) => this.#hear(event),
      authorize: this.authorizes ? (description) => this.#authorize(description) : undefined,
    };
  }

  /** Changes its mind about what may start. */
  refuse(id: string): void {
    const end = this.refused.get(id);
    if (end === undefined) {
      this.refused.set(id, this.#judge.causes.begin('refused', id));
    } else {
      this.refused.delete(id);
      end();
    }
    this.#judge.log(`the host ${end === undefined ? 'refuses' : 'allows'} ${id}`);
  }

  async #authorize(description: ServerDescription): Promise<boolean> {
    const { id } = description;
    const key = keyOf(description);
    if (this.#isAsked.has(key) || this.#allowed.has(key)) {
      this.#judge.problem(`the host is asked a second time about ${JSON.stringify(description)}`);
    }
    this.#judge.checkSecrets(JSON.stringify(description));
    this.#isAsked.add(key);
    const { door } = this;
    this.door = undefined;
    await door;
    this.#isAsked.delete(key);
    if (this.refused.has(id)) {
      return false;
    }
    this.#allowed.add(key);
    return true;
  }

  /** A server of this description starts. */
  checkAllowed(description: ServerDescription): void {
    if (this.authorizes && !this.#allowed.has(keyOf(description))) {
      this.#judge.problem(`nobody has allowed to start ${JSON.stringify(description)}`);
    }
  }

  #hear(event: GatewayEvent): void {
    const text = `event ${JSON.stringify(event)}`;
    this.#judge.checkSecrets(text);
    this.#judge.count(`event: ${event.type}`);
    if (event.type === 'phase') {
      const { from, to, reason, instance } = event;
      const before = this.#last.get(instance)?.to ?? 'idle';
      this.#last.set(instance, event);
      if (before !== from || !nextPhases[from].includes(to)) {
        this.#judge.problem(`it was in ${before}: ${text}`);
      }
      if ((to === 'failed' || to === 'crash-loop') !== (reason !== undefined) && to !== 'stopping') {
        this.#judge.problem(`a failure has a reason, and nothing else has: ${text}`);
      }
    }
  }

  look(gateway: Gateway, entries: Entries): void {
    const { ids } = entries;
    const all = gateway.status();
    const text = JSON.stringify(all);
    this.#judge.checkSecrets(`status ${text}`);
    if (String(all.map(({ id }) => id)) !== String(ids)) {
      this.#judge.problem(`the catalog has ${ids}, the status ${text}`);
    }
    for (const { id, phase, inFlight, instances, lastError } of all) {
      const ready = instances.filter((instance) => instance.phase === 'ready').length;
      const live = entries.of(id).server.live.length;
      if (ready > live) {
        this.#judge.problem(`${live} instances of ${id} run, and ${ready} are ready: ${text}`);
      }
      for (const instance of instances) {
        const event = this.#last.get(instance.id);
        if (instance.phase !== (event?.to ?? 'idle') || (event !== undefined && event.at !== instance.since)) {
          this.#judge.problem(
            `${instance.id} is ${JSON.stringify(instance)}, and the event was ${JSON.stringify(event)}`,
          );
        }
      }
      if (inFlight !== instances.reduce((sum, instance) => sum + instance.inFlight, 0)) {
        this.#judge.problem(`${id} has ${inFlight} requests in flight, and its instances have others: ${text}`);
      }
      if ((phase === 'failed' || phase === 'crash-loop') && lastError === undefined) {
        this.#judge.problem(`${id} is ${phase} for no reason: ${text}`);
      }
    }
  }

  /** What starts or stops has done so: as much runs as the status says, and what all share is remembered as it is. */
  lookWhenQuiet(gateway: Gateway, entries: Entries): void {
    for (const { id, instances } of gateway.status()) {
      const live = entries.of(id).server.live.length;
      const ready = instances.filter(({ phase }) => phase === 'ready').length;
      if (ready !== live && this.limits === undefined) {
        this.#judge.problem(`${live} instances of ${id} run, and the status is ${JSON.stringify(instances)}`);
      }
    }
    for (const [id, { lists }] of Object.entries(gateway.snapshot())) {
      const entry = entries.of(id);
      const { isolation, number } = entry.generation;
      const names = lists.tools?.map(({ name }) => name);
      this.#judge.count('snapshot');
      if (!entry.isThere || isolation !== 'shared' || (names && String(names) !== `${tools},v${number}`)) {
        this.#judge.problem(`the snapshot has of ${id}, generation ${number}, ${isolation}: ${JSON.stringify(lists)}`);
      }
    }
  }

  /** Nothing runs any more. */
  checkEnds(): void {
    for (const event of this.#last.values()) {
      if (nextPhases[event.to].length > 0 && event.to !== 'idle') {
        this.#judge.problem(`the last event of it was ${JSON.stringify(event)}`);
      }
    }
  }
}

function keyOf({ id, fingerprint }: ServerDescription): string {
  return `${id} ${fingerprint}`;
}
