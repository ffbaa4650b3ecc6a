import type { GatewayError } from '../errors.js';
import type { GatewayEvent } from '../events.js';
import type { Clock } from '../options.js';
import type { RuntimeProgress } from '../runtime.js';
import type { Transition } from './phase-machine.js';

export interface InstanceEventsOptions {
  readonly definition: { readonly id: string };
  readonly clock: Clock;
  emit(event: GatewayEvent): void;
}

/** Tells the host what happens to one instance. What it is given holds no secrets. */
export class InstanceEvents {
  readonly #options: InstanceEventsOptions;
  readonly #instance: string;

  constructor(options: InstanceEventsOptions, instance: string) {
    this.#options = options;
    this.#instance = instance;
  }

  phase({ from, to, reason }: Transition, at: number): void {
    const why = reason && { code: reason.code, message: reason.message };
    this.#options.emit({ type: 'phase', ...this.#source, from, to, reason: why, at });
  }

  progress(phase: 'pulling' | 'starting', progress: RuntimeProgress): void {
    this.#options.emit({ type: 'progress', ...this.#source, phase, progress, at: this.#options.clock.date() });
  }

  /** Something went wrong that ended nothing. */
  trouble({ code, message }: GatewayError): void {
    this.#options.emit({ type: 'trouble', ...this.#source, code, message, at: this.#options.clock.date() });
  }

  get #source(): { readonly server: string; readonly instance: string } {
    return { server: this.#options.definition.id, instance: this.#instance };
  }
}
