import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { RuntimeContext, RuntimeFactory, RuntimeSupport, RuntimeTransport } from '../runtime.js';
import { type Fault, FaultyTransport, type InjectedFault } from './faulty-transport.js';
import { createRandom } from './random.js';

/** How often each fault comes about: a chance from 0 to 1 for each message. */
export interface FaultPlan {
  /** The same seed gives the same faults for the same messages. */
  readonly seed: number;
  /** The message disappears. */
  readonly drop?: number | undefined;
  /** The message comes later than those after it, by up to `delayMs`. */
  readonly delay?: number | undefined;
  /**
   * The longest delay in milliseconds of the gateway's clock.
   *
   * @default 1000
   */
  readonly delayMs?: number | undefined;
  /** The message comes twice. */
  readonly duplicate?: number | undefined;
  /** The connection ends instead, as it does when a server crashes. */
  readonly cut?: number | undefined;
  /** The message comes in a form that is no message, or the answer to nothing. */
  readonly corrupt?: number | undefined;
  /**
   * Which messages are at risk: those to the server, those from it, or both.
   *
   * @default 'both'
   */
  readonly direction?: 'to-server' | 'from-server' | 'both' | undefined;
}

/**
 * A runtime around another one, whose servers are sick: for tests of how an application copes. It takes the type of the
 * other one, so that catalogs need not change.
 *
 * @typeParam Spec - what the other one makes of the runtime's part of an entry
 * @typeParam Type - the type of both
 * @typeParam Input - what an entry may write
 */
export class FaultyRuntime<Spec, Type extends string = string, Input = unknown> implements RuntimeFactory<Spec> {
  /** What came about so far, in order: with the seed it tells what a failed test met. */
  readonly injected: InjectedFault[] = [];
  readonly check?: NonNullable<RuntimeFactory<Spec>['check']>;
  readonly describe?: NonNullable<RuntimeFactory<Spec>['describe']>;
  readonly memory?: NonNullable<RuntimeFactory<Spec>['memory']>;
  readonly rbac?: NonNullable<RuntimeFactory<Spec>['rbac']>;
  readonly #inner: RuntimeFactory<Spec> & { readonly type: Type; readonly spec: StandardSchemaV1<Input, Spec> };
  readonly #plan: FaultPlan;
  readonly #random: () => number;

  /** @param inner - belongs to this one, and is closed with it */
  constructor(
    inner: RuntimeFactory<Spec> & { readonly type: Type; readonly spec: StandardSchemaV1<Input, Spec> },
    plan: FaultPlan,
  ) {
    this.#inner = inner;
    this.#plan = plan;
    this.#random = createRandom(plan.seed);
    // Only what the other one has: by their presence a gateway knows what it can ask.
    if (inner.check !== undefined) {
      this.check = inner.check.bind(inner);
    }
    if (inner.describe !== undefined) {
      this.describe = inner.describe.bind(inner);
    }
    if (inner.memory !== undefined) {
      this.memory = inner.memory.bind(inner);
    }
    if (inner.rbac !== undefined) {
      this.rbac = inner.rbac.bind(inner);
    }
  }

  get type(): Type {
    return this.#inner.type;
  }

  get spec(): StandardSchemaV1<Input, Spec> {
    return this.#inner.spec;
  }

  get supports(): RuntimeSupport {
    return this.#inner.supports ?? {};
  }

  async open(spec: Spec, context: RuntimeContext): Promise<RuntimeTransport> {
    const inner = await this.#inner.open(spec, context);
    return new FaultyTransport(inner, {
      context,
      delayMs: this.#plan.delayMs ?? 1000,
      next: (direction) => this.#next(direction),
      random: this.#random,
      injected: (fault) => this.injected.push(fault),
    });
  }

  async close(): Promise<void> {
    await this.#inner.close?.();
  }

  #next(direction: 'to-server' | 'from-server'): Fault | undefined {
    const { direction: atRisk = 'both', drop = 0, delay = 0, duplicate = 0, cut = 0, corrupt = 0 } = this.#plan;
    if (atRisk !== 'both' && atRisk !== direction) {
      return undefined;
    }
    let left = this.#random();
    for (const [fault, chance] of Object.entries({ drop, delay, duplicate, cut, corrupt }) as [Fault, number][]) {
      if (left < chance) {
        return fault;
      }
      left -= chance;
    }
    return undefined;
  }
}
