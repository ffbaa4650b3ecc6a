import type { StandardSchemaV1 } from '@standard-schema/spec';
import { GatewayError } from '../../../src/errors.js';
import type { RuntimeContext, RuntimeFactory, RuntimeTransport } from '../../../src/runtime.js';
import { isRequest, type JSONRPCMessage, type JSONRPCRequest } from '../../../src/sdk.js';
import type { FakeClock } from '../../support/fake-clock.js';

/**
 * How the next server starts: `stubborn` ignores that its start was given up, and opens late; `mute` opens, and never
 * answers `initialize`.
 */
export type Opening = 'at once' | 'slow' | 'pull' | 'fail' | 'hang' | 'stubborn' | 'mute';

/** Who watches what the gateway does with its servers. */
export interface Watcher {
  readonly clock: FakeClock;
  /** Decides how the start goes that begins now. */
  opening(context: RuntimeContext): Opening;
  /** A start failed, or was given up. */
  notOpened(context: RuntimeContext, why: 'failed' | 'timed out' | 'aborted'): void;
  opened(server: PlayedServer): void;
  /** A message has arrived at the server. */
  saw(server: PlayedServer, message: JSONRPCMessage): void;
  /** A server is about to answer. */
  answers(server: PlayedServer, response: JSONRPCMessage): void;
  /** The gateway has ended a server that lived. */
  closing(server: PlayedServer): void;
}

/** A server whose every move the schedule makes. */
export class PlayedServer implements RuntimeTransport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: RuntimeTransport['onmessage'];
  readonly context: RuntimeContext;
  /** Requests that it holds, and those that it has answered. */
  readonly pending: JSONRPCRequest[] = [];
  readonly answered: JSONRPCRequest[] = [];
  /** Answers no health check. */
  deaf = false;
  /** Reads nothing. */
  stuck = false;
  died = false;
  closed = false;
  closings = 0;
  /** How long it takes to end. */
  closeMs = 0;
  readonly #watcher: Watcher;
  readonly #mute: boolean;
  readonly #unread: { message: JSONRPCMessage; settle: PromiseWithResolvers<void> }[] = [];

  constructor(context: RuntimeContext, watcher: Watcher, mute: boolean) {
    this.context = context;
    this.#watcher = watcher;
    this.#mute = mute;
  }

  async start(): Promise<void> {}

  send(message: JSONRPCMessage): Promise<void> {
    if (this.closed) {
      return Promise.reject(new Error('the server has ended'));
    }
    if (this.stuck) {
      const settle = Promise.withResolvers<void>();
      this.#unread.push({ message, settle });
      return settle.promise;
    }
    this.#take(message);
    return Promise.resolve();
  }

  /** Reads what has waited. */
  loosen(): void {
    this.stuck = false;
    for (const { message, settle } of this.#unread.splice(0)) {
      this.#take(message);
      settle.resolve();
    }
  }

  say(message: object): void {
    if (this.closed) {
      return;
    }
    if ('result' in message) {
      this.#watcher.answers(this, message as JSONRPCMessage);
    }
    this.onmessage?.({ jsonrpc: '2.0', ...message } as JSONRPCMessage);
  }

  /** Ends as a crashed process does. */
  die(): void {
    this.died = true;
    const error = new GatewayError('SERVER_EXITED', 'the server exited with code 1', {
      server: this.context.server,
      exit: { code: 1, stderrTail: '' },
    });
    this.#end(error);
  }

  async close(): Promise<void> {
    if (this.closed) {
      return;
    }
    this.closings += 1;
    if (this.closings === 1) {
      this.#watcher.closing(this);
    }
    await wait(this.#watcher.clock, this.closeMs);
    this.#end(undefined);
  }

  #end(error: GatewayError | undefined): void {
    if (this.closed) {
      return;
    }
    this.closed = true;
    for (const { settle } of this.#unread.splice(0)) {
      settle.reject(new Error('the server has ended'));
    }
    if (error !== undefined) {
      this.onerror?.(error);
    }
    this.onclose?.();
  }

  #take(message: JSONRPCMessage): void {
    this.#watcher.saw(this, message);
    if (!isRequest(message)) {
      return;
    }
    if (message.method === 'initialize' && !this.#mute) {
      const { protocolVersion } = message.params ?? {};
      const result = {
        protocolVersion,
        capabilities: { tools: {}, logging: {} },
        serverInfo: { name: 'x', version: '1' },
      };
      queueMicrotask(() => this.say({ id: message.id, result }));
    } else if (message.method === 'tools/call') {
      this.pending.push(message);
    } else if (message.method === 'tools/list') {
      queueMicrotask(() => this.say({ id: message.id, result: { tools: [] } }));
    } else if (message.method === 'ping' && !this.deaf) {
      queueMicrotask(() => this.say({ id: message.id, result: {} }));
    }
  }
}

/** A runtime whose servers a schedule plays: type `played`. */
export class PlayedRuntime implements RuntimeFactory<unknown> {
  readonly type = 'played';
  readonly supports = { stderr: false };
  readonly spec: StandardSchemaV1<unknown, unknown> = {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
  };
  readonly #watcher: Watcher;

  constructor(watcher: Watcher) {
    this.#watcher = watcher;
  }

  async open(_spec: unknown, context: RuntimeContext): Promise<RuntimeTransport> {
    const { clock } = this.#watcher;
    const opening = this.#watcher.opening(context);
    const { signal } = context;
    let isGivenUp = false;
    const giveUp = () => {
      isGivenUp = true;
      const isTimeout = (signal.reason as { code?: unknown }).code === 'START_TIMEOUT';
      this.#watcher.notOpened(context, isTimeout ? 'timed out' : 'aborted');
    };
    const steps = {
      'at once': () => wait(clock, 0),
      mute: () => wait(clock, 0),
      slow: () => wait(clock, 2_000, signal),
      pull: async () => {
        context.report('pulling', { message: 'layer 1 of 1' });
        await wait(clock, 8_000, signal);
        context.report('starting');
        await wait(clock, 1_000, signal);
      },
      fail: async () => {
        throw new GatewayError('START_FAILED', 'no luck', { server: context.server });
      },
      hang: () => wait(clock, 1_000_000, signal),
      stubborn: () => wait(clock, 20_000),
    };
    signal.aborted ? giveUp() : signal.addEventListener('abort', giveUp, { once: true });
    try {
      await steps[opening]();
    } catch (error) {
      if (!isGivenUp) {
        this.#watcher.notOpened(context, 'failed');
      }
      throw error;
    } finally {
      signal.removeEventListener('abort', giveUp);
    }
    const server = new PlayedServer(context, this.#watcher, opening === 'mute');
    this.#watcher.opened(server);
    return server;
  }
}

function wait(clock: FakeClock, ms: number, signal?: AbortSignal): Promise<void> {
  if (ms === 0) {
    return Promise.resolve();
  }
  return new Promise((resolve, reject) => {
    const abort = () => {
      clock.clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = clock.setTimeout(() => {
      signal?.removeEventListener('abort', abort);
      resolve();
    }, ms);
    signal?.aborted ? abort() : signal?.addEventListener('abort', abort, { once: true });
  });
}
