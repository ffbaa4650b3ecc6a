import type { GatewayError } from '../errors.js';
import type { Phase } from '../events.js';

/**
 * Which phase may follow which, as in the diagram of `docs/concepts.md`. An instance rests in `idle` before its start; `idle`, `failed` and `crash-loop` are the
 * ends: the next start is a new instance.
 */
export const nextPhases: Readonly<Record<Phase, readonly Phase[]>> = {
  idle: ['starting'],
  starting: ['pulling', 'ready', 'stopping', 'idle', 'failed', 'crash-loop'],
  pulling: ['starting', 'ready', 'stopping', 'idle', 'failed', 'crash-loop'],
  ready: ['stopping'],
  stopping: ['idle', 'failed', 'crash-loop'],
  failed: [],
  'crash-loop': [],
};

/** One step of an instance. */
export interface Transition {
  readonly from: Phase;
  readonly to: Phase;
  /** The failure that caused it, if one did. */
  readonly reason: GatewayError | undefined;
}

/** Told of each step. */
export interface PhaseListener {
  onTransition(transition: Transition): void;
}

/** The phase of one instance: all changes go through here, and each is told once. */
export class PhaseMachine {
  readonly #listener: PhaseListener;
  #phase: Phase = 'idle';

  constructor(listener: PhaseListener) {
    this.#listener = listener;
  }

  get phase(): Phase {
    return this.#phase;
  }

  /** Goes to a phase. To be there already, or to come from where it cannot be reached, changes nothing. */
  enter(to: Phase, reason?: GatewayError): void {
    const from = this.#phase;
    if (nextPhases[from].includes(to)) {
      this.#phase = to;
      this.#listener.onTransition({ from, to, reason });
    }
  }
}
