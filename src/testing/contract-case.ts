import assert from 'node:assert/strict';
import type { RuntimeContext, RuntimeFactory, RuntimeSupport } from '../runtime.js';
import { Beacon } from './beacon.js';
import { createRuntimeContext } from './context.js';
import { turns, within } from './guard.js';
import { Peer } from './peer.js';
import type { ReferenceMode } from './reference-server.js';

/** What the contract suite needs to know of a runtime. */
export interface RuntimeContractOptions<Spec> {
  /** Makes a factory; each case makes its own, and closes it. */
  create(): RuntimeFactory<Spec>;
  /**
   * The spec of a server that is the reference server, started with `args`: as a program
   * `node <referenceServerPath()> <args…>`, in process `createReferenceServer(args, env)`.
   */
  working(args: readonly string[]): Spec | Promise<Spec>;
  /** A valid spec of a server that cannot be started, as `check` would find out too. */
  broken(): Spec | Promise<Spec>;
  /**
   * How long a case waits for one thing before it fails: a guard against hanging. The runner's own time limit must be
   * more than twice as long: a case that has failed waits once more, for the end of its servers.
   *
   * @default 30_000
   */
  readonly guardMs?: number | undefined;
}

/** One case of the contract suite. */
export interface ContractCase {
  readonly name: string;
  /** Left out when the runtime's factory says that it cannot do this, or does not have this method. */
  readonly needs?: keyof RuntimeSupport | 'check' | 'describe';
  run(scene: Scene): Promise<void>;
}

/** What one case works with; disposal closes all of it, and fails when something is left. */
export class Scene implements AsyncDisposable {
  readonly factory: RuntimeFactory<unknown>;
  readonly beacon: Beacon;
  readonly guardMs: number;
  readonly #options: RuntimeContractOptions<unknown>;
  /** Every transport that was opened. */
  readonly peers: Peer[] = [];

  private constructor(
    options: RuntimeContractOptions<unknown>,
    factory: RuntimeFactory<unknown>,
    guardMs: number,
    beacon: Beacon,
  ) {
    this.#options = options;
    this.factory = factory;
    this.guardMs = guardMs;
    this.beacon = beacon;
  }

  static async set(options: RuntimeContractOptions<unknown>): Promise<Scene> {
    const guardMs = options.guardMs ?? 30_000;
    const factory = options.create();
    const lasting = factory.supports?.starts === false;
    return new Scene(options, factory, guardMs, await Beacon.listen(guardMs, lasting));
  }

  context(overrides: Partial<RuntimeContext> = {}): RuntimeContext {
    return createRuntimeContext(overrides);
  }

  async working(mode: ReferenceMode = 'answer', name?: string): Promise<unknown> {
    return this.#options.working([mode, this.beacon.argument(name)]);
  }

  async broken(): Promise<unknown> {
    return this.#options.broken();
  }

  /** Calls `open` as it is: for what is expected to fail. The caller hands a transport that came after all to {@link adopt}. */
  async tryOpen(spec: unknown, context: RuntimeContext): Promise<Peer> {
    const transport = await within(this.factory.open(spec, context), this.guardMs, 'open()');
    const peer = new Peer(transport, this.guardMs);
    this.peers.push(peer);
    return peer;
  }

  /** Opens a reference server and does not start its transport. */
  async open(mode?: ReferenceMode, overrides?: Partial<RuntimeContext>): Promise<Peer> {
    return this.tryOpen(await this.working(mode), this.context(overrides));
  }

  /** Opens a reference server, starts its transport and begins a session. */
  async started(mode?: ReferenceMode, overrides?: Partial<RuntimeContext>): Promise<Peer> {
    const peer = await this.open(mode, overrides);
    await peer.begin();
    return peer;
  }

  /**
   * Opens and closes one more server, and waits until it has shown itself: by then, one that was started before and
   * forgotten has had the time to do so as well.
   */
  async openOneMore(): Promise<void> {
    const peer = await this.tryOpen(await this.working('answer', 'one-more'), this.context());
    await peer.begin();
    await peer.call('echo', { text: 'one more' });
    await this.beacon.lit('one-more');
    await peer.close();
    await peer.closed();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      for (const peer of this.peers) await peer.close();
      for (const peer of this.peers) await peer.closed();
      if (this.factory.close !== undefined) await within(this.factory.close(), this.guardMs, "the factory's close()");
      await this.beacon.assertDark('at the end of the case');
      await turns();
      for (const peer of this.peers) assert.equal(peer.closes, 1, 'onclose fires once, whatever else happens');
      for (const peer of this.peers) assert.equal(peer.log.at(-1), 'close', 'nothing comes after onclose');
    } finally {
      await this.beacon[Symbol.asyncDispose]();
    }
  }
}
