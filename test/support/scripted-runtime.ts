import type { StandardSchemaV1 } from '@standard-schema/spec';
import type { RuntimeContext, RuntimeFactory, RuntimeTransport } from '../../src/runtime.js';
import type { JSONRPCMessage } from '../../src/sdk.js';

/** A transport of a {@link ScriptedRuntime}: the test plays the server. */
export class ScriptedTransport implements RuntimeTransport {
  onclose?: (() => void) | undefined;
  onerror?: ((error: Error) => void) | undefined;
  onmessage?: RuntimeTransport['onmessage'];
  readonly sent: JSONRPCMessage[] = [];
  closes = 0;
  /** What `send` returns; resolved at once unless the test says otherwise. */
  onsend: (message: JSONRPCMessage) => Promise<void> = async () => {};
  onstart: () => Promise<void> = async () => {};

  start(): Promise<void> {
    return this.onstart();
  }

  async send(message: JSONRPCMessage): Promise<void> {
    this.sent.push(message);
    await this.onsend(message);
  }

  async close(): Promise<void> {
    this.closes += 1;
    if (this.closes === 1) this.onclose?.();
  }

  /** The server says something. */
  say(message: JSONRPCMessage): void {
    this.onmessage?.(message);
  }
}

/** A runtime whose servers are played by the test: type `scripted`. */
export class ScriptedRuntime implements RuntimeFactory<unknown> {
  readonly type = 'scripted';
  readonly spec: StandardSchemaV1<unknown, unknown> = {
    '~standard': { version: 1, vendor: 'test', validate: (value) => ({ value }) },
  };
  readonly opened: ScriptedTransport[] = [];
  readonly contexts: RuntimeContext[] = [];
  onopen: (context: RuntimeContext, transport: ScriptedTransport) => Promise<void> = async () => {};

  async open(_spec: unknown, context: RuntimeContext): Promise<RuntimeTransport> {
    const transport = new ScriptedTransport();
    this.contexts.push(context);
    await this.onopen(context, transport);
    this.opened.push(transport);
    return transport;
  }

  get last(): ScriptedTransport {
    const transport = this.opened.at(-1);
    if (transport === undefined) throw new Error('nothing was opened yet');
    return transport;
  }
}
