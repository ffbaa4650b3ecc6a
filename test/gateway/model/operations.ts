import type { Chance } from './chance.js';
import type { World } from './world.js';

/** What the host does to the gateway. */
export class Operations {
  readonly #world: World;
  /** What was asked for, until it is done. */
  readonly underWay = new Set<string>();

  constructor(world: World) {
    this.#world = world;
  }

  reload(chance: Chance): void {
    const changes = [
      this.#world.entries.change(chance),
      ...(chance.oneIn(3) ? [this.#world.entries.change(chance)] : []),
    ];
    const text = `reload: ${changes.map((change) => change.text).join(', ')}`;
    const ends = changes.map(({ what, id }) => this.#world.judge.causes.begin(what, id));
    this.#world.judge.log(text);
    this.#world.judge.count('reload');
    const reloading = this.#world.gateway.reload(this.#world.entries.catalog as never, {
      graceMs: chance.one([0, 5_000]),
    });
    this.#world.describe();
    this.watchOperation(
      text,
      reloading.finally(() => {
        for (const end of ends) {
          end();
        }
      }),
    );
  }

  /** The host changes its mind about what may start. */
  refuse(chance: Chance): void {
    const id = chance.pick(this.#world.entries.ids);
    if (id !== undefined && this.#world.host.authorizes) {
      this.#world.host.refuse(id);
    }
    if (chance.oneIn(2)) {
      this.#world.host.door ??= new Promise((resolve) => this.#world.doors.push(resolve));
    }
  }

  /** Asks for what starts nothing, and has to come at once and without secrets. */
  inspect(chance: Chance): void {
    const { gateway, judge } = this.#world;
    const id = chance.pick([undefined, ...this.#world.entries.ids]);
    judge.count('check');
    const checking = gateway.check(id).then((checks) => {
      judge.checkSecrets(JSON.stringify(checks));
      if (checks.some(({ ok }) => !ok)) {
        judge.problem(`a check finds ${JSON.stringify(checks)}`);
      }
    });
    this.watchOperation(`check ${id}`, checking);
    judge.checkSecrets(
      JSON.stringify([gateway.snapshot(), gateway.rbac(), id === undefined ? [] : gateway.describe(id)]),
    );
  }

  operate(chance: Chance): void {
    const id = chance.pick(this.#world.entries.ids);
    if (id === undefined) {
      return;
    }
    const graceMs = chance.one([0, 5_000]);
    const what = chance.one(['start', 'stop', 'restart', 'stop']);
    this.#world.judge.log(`${what} ${id}`);
    this.#world.judge.count(what);
    const end = this.#world.judge.causes.begin(what === 'start' ? 'started' : 'stopped', id);
    this.watchOperation(
      `${what} ${id}`,
      (what === 'start'
        ? this.#world.gateway.start(id)
        : what === 'stop'
          ? this.#world.gateway.stop(id, { graceMs })
          : this.#world.gateway.restart(id, { graceMs })
      ).finally(end),
    );
  }

  watchOperation(text: string, operation: Promise<unknown>): void {
    const name = `${text} (${this.#world.number()})`;
    this.underWay.add(name);
    operation
      .catch((error: Error & { code?: string }) => {
        this.#world.judge.log(`${name}: ${error.message}`);
        if (error.code === undefined) {
          this.#world.judge.problem(`${name} failed with ${String(error)}`);
        }
      })
      .finally(() => this.underWay.delete(name));
  }
}
