import type { ChildProcess, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import type { KubeConfig } from '@kubernetes/client-node';
import crossSpawn from 'cross-spawn';
import type { Clock } from '../../../options.js';
import { assertDescriptors } from '../../../util/descriptors.js';
import { isFields } from '../../../util/fields.js';

/** What client-node starts an exec plugin with. It is not documented, so it is looked for before it is used. */
interface Starter {
  execFn: typeof spawn;
}

/** The programs that give credentials, as client-node runs them: it waits for each for ever. */
export class ExecPlugins {
  readonly #clock: Clock;
  /** Those that have not ended yet, and since when each runs. */
  readonly #running = new Map<ChildProcess, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Gets to know the plugins of a configuration. */
  watch(config: KubeConfig): void {
    const { authenticators } = config as unknown as { readonly authenticators?: unknown };
    for (const one of Array.isArray(authenticators) ? authenticators : []) {
      if (isStarter(one)) one.execFn = this.#start;
    }
  }

  /** Ends those that have run for so long, whatever holds them up. */
  end(ms: number): void {
    const last = this.#clock.now() - ms;
    for (const [plugin, since] of this.#running) {
      if (since > last) continue;
      plugin.kill('SIGKILL');
      // What it has started may hold them, and live on.
      plugin.stdout?.destroy();
      plugin.stderr?.destroy();
    }
  }

  readonly #start = ((...asked: Parameters<typeof spawn>) => {
    assertDescriptors(notStarted);
    // Not Node's own: on Windows a plugin may be a batch file.
    const plugin = crossSpawn(...asked);
    // Where there are no descriptors left, Node makes no streams, and tells why with the next tick: client-node expects neither.
    if ((plugin.stdout as Readable | null | undefined) === undefined) {
      plugin.once('error', () => {});
      throw notStarted();
    }
    this.#running.set(plugin, this.#clock.now());
    return plugin.once('close', () => this.#running.delete(plugin));
  }) as typeof spawn;
}

function notStarted(): Error {
  return new Error('its exec plugin was not started: the host has too many open files; raise the limit (ulimit -n)');
}

function isStarter(value: unknown): value is Starter {
  return isFields(value) && typeof value.execFn === 'function';
}
