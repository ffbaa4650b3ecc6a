import * as v from 'valibot';
import {
  createGateway,
  type Gateway,
  type GatewayEvent,
  type GatewayOptions,
  InProcessRuntime,
  type MergedOptions,
  type RuntimeContext,
  type RuntimeFactory,
} from '../../src/index.js';
import { FakeClock } from '../support/fake-clock.js';
import { type Json, type Script, ScriptedServer } from './scripted-server.js';
import { TestCaller } from './test-caller.js';

export interface Setup extends AsyncDisposable {
  readonly gateway: Gateway<ScriptedRuntime>;
  readonly clock: FakeClock;
  readonly events: GatewayEvent[];
  /** By id, in the order of the catalog. */
  readonly servers: Readonly<Record<string, ScriptedServer>>;
  server(id: string): ScriptedServer;
  /** A caller that has made its handshake. */
  caller(capabilities?: Json, options?: MergedOptions): Promise<TestCaller>;
}

export interface SetupOptions extends Omit<GatewayOptions, 'clock' | 'runtimes'> {
  /** More fields of every catalog entry. */
  readonly entry?: Json;
  /** More fields of single ones, by id. */
  readonly entries?: Readonly<Record<string, Json>>;
  readonly clock?: FakeClock;
}

/** Names its servers, so that an entry has the same fingerprint in each gateway, which one with a function has not. */
export class ScriptedRuntime implements RuntimeFactory<{ script: string }> {
  readonly type = 'scripted';
  readonly spec = v.object({ script: v.string() });
  readonly supports = { stderr: false, exit: false };
  readonly #servers: Readonly<Record<string, ScriptedServer>>;
  readonly #inner = new InProcessRuntime();

  constructor(servers: Readonly<Record<string, ScriptedServer>>) {
    this.#servers = servers;
  }

  open({ script }: { script: string }, context: RuntimeContext) {
    return this.#inner.open({ server: (this.#servers[script] as ScriptedServer).runtime.server }, context);
  }
}

/** A gateway for scripted servers, on a clock that only the test moves; its disposal fails when anything is left. */
export function setUp(
  scripts: Readonly<Record<string, Script | ScriptedServer>>,
  { entry = {}, entries = {}, clock = new FakeClock(), ...options }: SetupOptions = {},
): Setup {
  const events: GatewayEvent[] = [];
  const servers = Object.fromEntries(
    Object.entries(scripts).map(([id, script]) => [
      id,
      script instanceof ScriptedServer ? script : new ScriptedServer(script),
    ]),
  );
  const catalog = Object.keys(servers).map((id) => ({
    id,
    runtime: { type: 'scripted' as const, script: id },
    ...entry,
    ...entries[id],
  }));
  const gateway = createGateway(
    { servers: catalog },
    { clock, onEvent: (event) => events.push(event), ...options, runtimes: [new ScriptedRuntime(servers)] },
  );
  return {
    gateway,
    clock,
    events,
    servers,
    server(id) {
      return servers[id] as ScriptedServer;
    },
    caller: (capabilities = {}, connectOptions = {}) => TestCaller.open(gateway.connect(connectOptions), capabilities),
    async [Symbol.asyncDispose]() {
      await gateway.close({ graceMs: 0 });
      const left = Object.values(servers).flatMap(({ live }) => live);
      if (left.length > 0 || clock.waiting > 0) {
        throw new Error(`left after close: ${left.length} servers, ${clock.waiting} timers`);
      }
    },
  };
}
