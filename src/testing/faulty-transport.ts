import { GatewayError } from '../errors.js';
import type { RuntimeContext, RuntimeTransport } from '../runtime.js';
import type { JSONRPCMessage, MessageExtraInfo, TransportSendOptions } from '../sdk.js';
import { once } from '../util/once.js';

/** What can happen to a message. */
export type Fault = 'drop' | 'delay' | 'duplicate' | 'cut' | 'corrupt';

/** A fault that came about. */
export interface InjectedFault {
  /** What happened to the message. */
  readonly fault: Fault;
  /** Which way the message went. */
  readonly direction: 'to-server' | 'from-server';
  /** Id of the catalog entry. */
  readonly server: string;
  /** Id of the instance, as in the gateway's status. */
  readonly instance: string;
  /** The method of the message; undefined for an answer. */
  readonly method: string | undefined;
}

export interface FaultyTransportOptions {
  readonly context: RuntimeContext;
  readonly delayMs: number;
  readonly random: () => number;
  /** What happens to the next message. */
  next(direction: InjectedFault['direction']): Fault | undefined;
  injected(fault: InjectedFault): void;
}

/** A transport of a runtime on which messages get lost, late, doubled, damaged, or which ends. */
export class FaultyTransport implements RuntimeTransport {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: NonNullable<RuntimeTransport['onmessage']>;
  readonly pid?: number | null | undefined;
  readonly stderr?: RuntimeTransport['stderr'];
  readonly stderrTail?: NonNullable<RuntimeTransport['stderrTail']>;
  readonly #inner: RuntimeTransport;
  readonly #options: FaultyTransportOptions;
  readonly #timers = new Set<unknown>();
  #reason: GatewayError | undefined;
  #told = false;

  constructor(inner: RuntimeTransport, options: FaultyTransportOptions) {
    this.#inner = inner;
    this.#options = options;
    // Only where the other one has them: SDK v2 tells byte streams by their presence.
    if ('pid' in inner) {
      this.pid = inner.pid;
    }
    if ('stderr' in inner) {
      this.stderr = inner.stderr;
    }
    if (inner.stderrTail !== undefined) {
      this.stderrTail = inner.stderrTail.bind(inner);
    }
    inner.onmessage = (message, extra) => this.#receive(message, extra);
    inner.onerror = (error) => {
      this.#told ||= GatewayError.is(error) && error.exit !== undefined;
      this.onerror?.(error);
    };
    inner.onclose = () => {
      for (const timer of this.#timers) {
        options.context.clock.clearTimeout(timer);
      }
      this.#timers.clear();
      if (this.#reason !== undefined && !this.#told) {
        this.onerror?.(this.#reason);
      }
      this.onclose?.();
    };
  }

  get sessionId(): string | undefined {
    return this.#inner.sessionId;
  }

  readonly setProtocolVersion = (version: string): void => this.#inner.setProtocolVersion?.(version);

  start(): Promise<void> {
    return this.#inner.start();
  }

  async send(message: JSONRPCMessage, options?: TransportSendOptions): Promise<void> {
    if (this.#reason !== undefined) {
      throw this.#closed();
    }
    const pass = (changed: JSONRPCMessage) => this.#inner.send(changed, options);
    switch (this.#fault('to-server', message)) {
      case undefined:
        return pass(message);
      case 'drop':
        return;
      case 'delay':
        this.#later(() => void pass(message).catch(() => {}));
        return;
      case 'duplicate':
        await pass(message);
        return pass(message);
      case 'cut':
        this.#cut();
        throw this.#closed();
      case 'corrupt':
        return pass(corrupted(message, this.#options.random));
    }
  }

  async health(signal: AbortSignal): Promise<void> {
    if (this.#reason !== undefined) {
      throw this.#reason;
    }
    await this.#inner.health?.(signal);
  }

  readonly close = once(() => this.#inner.close());

  #receive(message: JSONRPCMessage, extra: MessageExtraInfo | undefined): void {
    if (this.#reason !== undefined) {
      return;
    }
    switch (this.#fault('from-server', message)) {
      case undefined:
        this.onmessage?.(message, extra);
        break;
      case 'drop':
        break;
      case 'delay':
        this.#later(() => this.onmessage?.(message, extra));
        break;
      case 'duplicate':
        this.onmessage?.(structuredClone(message), extra);
        this.onmessage?.(message, extra);
        break;
      case 'cut':
        this.#cut();
        break;
      case 'corrupt':
        this.onmessage?.(corrupted(message, this.#options.random), extra);
        break;
    }
  }

  #fault(direction: InjectedFault['direction'], message: JSONRPCMessage): Fault | undefined {
    const { context, next, injected } = this.#options;
    const fault = next(direction);
    if (fault !== undefined) {
      const method = 'method' in message ? message.method : undefined;
      injected({ fault, direction, server: context.server, instance: context.instanceId, method });
    }
    return fault;
  }

  #later(run: () => void): void {
    const { context, delayMs, random } = this.#options;
    const timer = context.clock.setTimeout(
      () => {
        this.#timers.delete(timer);
        if (this.#reason === undefined) {
          run();
        }
      },
      Math.ceil(random() * delayMs),
    );
    this.#timers.add(timer);
  }

  #cut(): void {
    const { server } = this.#options.context;
    this.#reason = new GatewayError('SERVER_EXITED', 'the connection was cut by the test', {
      server,
      exit: { stderrTail: '' },
    });
    void this.close().catch((error: Error) => this.onerror?.(error));
  }

  #closed(): GatewayError {
    const { server } = this.#options.context;
    return new GatewayError('TRANSPORT_CLOSED', 'the connection is closed', { server, cause: this.#reason });
  }
}

/** Something else in the place of a message, of the kinds that sick servers send. */
function corrupted(message: JSONRPCMessage, random: () => number): JSONRPCMessage {
  const kinds: readonly (() => unknown)[] = [
    () => ({ ...message, jsonrpc: '1.0' }),
    () => ({ ...message, id: `nobody-${Math.floor(random() * 1e6)}` }),
    () => ({ jsonrpc: '2.0' }),
    () => ({ ...message, result: 'not an object' }),
    () => [message],
    () => null,
  ];
  return kinds[Math.floor(random() * kinds.length)]?.() as JSONRPCMessage;
}
