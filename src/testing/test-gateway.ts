import type { ServerInput } from '../catalog/catalog.js';
import type { GatewayEvent } from '../events.js';
import { createGateway } from '../gateway.js';
import type { Gateway, GatewayOptions, MergedOptions, ServerConnectOptions } from '../gateway-api.js';
import { systemClock } from '../options.js';
import type { InProcessSpec } from '../runtimes/in-process.js';
import { CountingClock } from './counting-clock.js';
import { FakeClock } from './fake-clock.js';
import { within } from './guard.js';
import { RecordingTransport } from './recording-transport.js';
import { ScriptedServer, type ServerScript } from './scripted-server.js';

/**
 * A server of a test gateway: a function that returns an SDK server, a script, a scripted server, or the fields of a
 * catalog entry.
 */
export type TestServer =
  | InProcessSpec['server']
  | ScriptedServer
  | ServerScript
  | {
      readonly runtime: { readonly type: string; readonly [field: string]: unknown };
      readonly [field: string]: unknown;
    };

/** Settings of {@link createTestGateway}, besides those of `createGateway`. */
export interface TestGatewayOptions extends Omit<GatewayOptions, 'clock'> {
  /**
   * `'fake'`: time stands still until the test moves `clock`. For servers outside of this process use `'real'`.
   *
   * @default 'fake'
   */
  readonly time?: 'fake' | 'real' | undefined;
  /** More fields of every catalog entry, such as `isolation`. */
  readonly entry?: Readonly<Record<string, unknown>> | undefined;
  /**
   * How long the disposal, and what waits for a message, may take before they fail, in milliseconds.
   *
   * @default 10_000
   */
  readonly guardMs?: number | undefined;
}

/** A gateway for one test. Its disposal closes it, and fails when anything is left open. */
export interface TestGateway extends AsyncDisposable {
  /** The gateway itself. */
  readonly gateway: Gateway;
  /** The gateway's time, unless it is the real one. */
  readonly clock: FakeClock;
  /** Every event so far. */
  readonly events: readonly GatewayEvent[];
  /** The scripted server with this id. Throws for any other. */
  server(id: string): ScriptedServer;
  /** A transport to one server, which records what passes. */
  connect(id: string, options?: ServerConnectOptions): RecordingTransport;
  /** A transport to all servers as one, which records what passes. */
  connect(options?: MergedOptions): RecordingTransport;
}

/**
 * Makes a gateway whose servers live in the test.
 *
 * The disposal throws when a server is still open after the gateway has closed, a timer of the gateway still runs, a
 * script has failed, or closing takes longer than `guardMs`.
 *
 * @param servers - by id, in the order of the catalog
 * @throws `GatewayError` `CATALOG_INVALID`; `OPTION_INVALID`
 */
export function createTestGateway(
  servers: Readonly<Record<string, TestServer>>,
  { time = 'fake', entry = {}, guardMs = 10_000, onEvent, ...options }: TestGatewayOptions = {},
): TestGateway {
  const events: GatewayEvent[] = [];
  const fake = new FakeClock();
  const clock = time === 'fake' ? fake : new CountingClock(systemClock);
  const scripted = new Map<string, ScriptedServer>();
  // Checked by createGateway like any other catalog.
  const entries = Object.entries(servers).map(
    ([id, server]) => ({ id, ...entry, ...toEntry(id, server, scripted, guardMs) }) as unknown as ServerInput,
  );
  const gateway = createGateway(
    { servers: entries },
    {
      ...options,
      clock,
      onEvent: (event) => {
        events.push(event);
        return onEvent?.(event);
      },
    },
  );

  function connect(first?: string | MergedOptions, second?: ServerConnectOptions): RecordingTransport {
    const inner = typeof first === 'string' ? gateway.connect(first, second) : gateway.connect(first);
    return new RecordingTransport(inner, { guardMs });
  }

  return {
    gateway,
    events,
    connect,
    get clock() {
      if (time === 'real') {
        throw new Error('this gateway runs on the real time: there is no clock to move');
      }
      return fake;
    },
    server(id) {
      const server = scripted.get(id);
      if (server === undefined) {
        throw new Error(`"${id}" is not a scripted server of this test gateway`);
      }
      return server;
    },
    async [Symbol.asyncDispose]() {
      const closing = within(gateway.close({ graceMs: 0 }), guardMs, 'the gateway did not close');
      if (time === 'fake') {
        await passTimeUntil(closing, fake);
      }
      await closing;
      throwLeft([...scripted], clock.waiting);
    },
  };
}

function toEntry(id: string, server: TestServer, scripted: Map<string, ScriptedServer>, guardMs: number): object {
  if (Object(server) !== server) {
    // createGateway says what is missing.
    return {};
  }
  if (typeof server === 'function') {
    return { runtime: { type: 'in-process', server } };
  }
  if ('runtime' in server && !(server instanceof ScriptedServer)) {
    return server;
  }
  const played = server instanceof ScriptedServer ? server : new ScriptedServer(server);
  played.guardMs ??= guardMs;
  scripted.set(id, played);
  return { runtime: played.runtime };
}

/** Whatever closing waits for comes at once: nobody is left who could move the clock. */
async function passTimeUntil(closing: Promise<void>, clock: FakeClock): Promise<void> {
  let closed = false;
  const done = () => {
    closed = true;
  };
  closing.then(done, done);
  await clock.advance(0);
  while (!closed && clock.waiting > 0) {
    await clock.advanceToNext();
  }
}

function throwLeft(scripted: readonly (readonly [string, ScriptedServer])[], timers: number): void {
  const open = scripted.filter(([, { live }]) => live.length > 0).map(([id, { live }]) => `${live.length} of "${id}"`);
  const left = [
    ...(open.length > 0 ? [`servers are open: ${open.join(', ')}`] : []),
    ...(timers > 0 ? [`${timers} timers run`] : []),
  ];
  const problems = scripted.flatMap(([, server]) => server.problems);
  if (left.length > 0) {
    problems.push(new Error(`left after the gateway has closed: ${left.join('; ')}`));
  }
  if (problems.length > 1) {
    throw new AggregateError(problems, problems.map(String).join('\n'));
  }
  if (problems.length > 0) {
    throw problems[0];
  }
}
