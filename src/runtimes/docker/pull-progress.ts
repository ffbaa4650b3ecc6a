import type { Clock } from '../../options.js';
import type { RuntimeProgress } from '../../runtime.js';
import type { PullLine } from './engine/engine.js';

const leastIntervalMs = 200;
/** More layers than any image has: what an engine sends must not fill the memory. */
const maxLayers = 1_000;

interface Layer {
  current: number;
  total: number;
  done: boolean;
}

/** Adds up what an engine says of each layer, and tells it a few times a second at most. */
export class PullProgress {
  readonly #clock: Clock;
  readonly #image: string;
  readonly #tell: (progress: RuntimeProgress) => void;
  readonly #layers = new Map<string, Layer>();
  #last = Number.NEGATIVE_INFINITY;

  constructor(image: string, clock: Clock, tell: (progress: RuntimeProgress) => void) {
    this.#image = image;
    this.#clock = clock;
    this.#tell = tell;
  }

  take({ id, status = '', progressDetail }: PullLine): void {
    if (id === undefined || !this.#note(id, status, progressDetail)) {
      return;
    }
    const now = this.#clock.now();
    if (now - this.#last < leastIntervalMs) {
      return;
    }
    this.#last = now;
    const layers = [...this.#layers.values()];
    const done = layers.filter((layer) => layer.done).length;
    this.#tell({
      message: `pulling ${this.#image}: ${done} of ${layers.length} layers`,
      current: sum(layers.map(({ current }) => current)),
      total: sum(layers.map(({ total }) => total)),
    });
  }

  #note(id: string, status: string, detail: PullLine['progressDetail']): boolean {
    const layer = this.#layers.get(id) ?? { current: 0, total: 0, done: false };
    switch (status) {
      case 'Pulling fs layer':
      case 'Waiting':
        break;
      case 'Downloading':
        layer.total = Math.max(layer.total, detail?.total ?? 0, detail?.current ?? 0);
        layer.current = Math.max(layer.current, detail?.current ?? 0);
        break;
      case 'Download complete':
        layer.current = layer.total;
        break;
      case 'Pull complete':
      case 'Already exists':
        layer.current = layer.total;
        layer.done = true;
        break;
      default:
        return false;
    }
    if (this.#layers.size < maxLayers) {
      this.#layers.set(id, layer);
    }
    return true;
  }
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0);
}
