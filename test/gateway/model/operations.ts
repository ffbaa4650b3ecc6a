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
    this.#world.judge.log(`reload: ${changes.join(', ')}`);
    this.#world.judge.count('reload');
    this.watchOperation(
      `reload ${changes}`,
      this.#world.gateway.reload(this.#world.entries.catalog as never, { graceMs: chance.one([0, 5_000]) }),
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
    this.watchOperation(
      `${what} ${id}`,
      what === 'start'
        ? this.#world.gateway.start(id)
        : what === 'stop'
          ? this.#world.gateway.stop(id, { graceMs })
          : this.#world.gateway.restart(id, { graceMs }),
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
