import type { StandardSchemaV1 } from '@standard-schema/spec';
import * as v from 'valibot';
import { GatewayError } from '../errors.js';
import type { RuntimeContext, RuntimeFactory, RuntimeTransport } from '../runtime.js';
import type { Transport } from '../sdk.js';
import { createLinkedPair } from '../transport/linked-pair.js';
import { abortable } from '../util/abort.js';
import { isError } from '../util/is-error.js';
import { InProcessTransport } from './in-process/transport.js';
import { inPlaceOf } from './in-process/unwritable-answers.js';

/** What a server function may return, as far as it is used here: `Server` and `McpServer` of SDK v1 and v2 fit. */
export interface InProcessServer {
  /** Called once, with the server's end of the line; resolves when messages may come. */
  connect(transport: Transport): Promise<void>;
  /** Called when the instance ends; nothing of the server should be left when it resolves. */
  close(): Promise<void>;
}

/** The runtime's part of a catalog entry of type `in-process`. */
export interface InProcessSpec {
  /**
   * Makes the server. Called once per instance; what it returns belongs to the instance and is closed with it.
   *
   * It returns an SDK `Server` or `McpServer` (v1 or v2) that is not connected yet, or the client's end of a transport
   * to a server.
   */
  readonly server: (context: RuntimeContext) => InProcessServer | Transport | Promise<InProcessServer | Transport>;
}

/** The schema of {@link InProcessSpec}. */
const inProcessSpec = v.strictObject({
  server: v.custom<InProcessSpec['server']>(
    (value) => typeof value === 'function',
    'must be a function that returns a server: entries of type in-process are written in code, not in a file',
  ),
});

/**
 * Runs servers as objects of this process: for tests, and for servers that live in the host.
 *
 * There is no boundary between such a server and the host: it is not stopped when it blocks, and its standard streams
 * are the host's. Messages to and from an SDK server are copied on their way, as JSON would.
 */
export class InProcessRuntime implements RuntimeFactory<InProcessSpec> {
  readonly type = 'in-process';
  readonly spec: StandardSchemaV1<InProcessSpec> = inProcessSpec;
  readonly supports = { env: true, stderr: false, exit: false } as const;

  describe(spec: InProcessSpec): Readonly<Record<string, unknown>> {
    return { server: spec.server.name === '' ? 'a function' : `function ${spec.server.name}` };
  }

  async open(spec: InProcessSpec, context: RuntimeContext): Promise<RuntimeTransport> {
    const { signal, server } = context;
    signal.throwIfAborted();
    context.report('starting');
    const making = Promise.resolve().then<unknown>(() => spec.server(context));
    const made = await abortable(making, signal).catch((cause: unknown) => {
      if (!signal.aborted) throw startFailed(server, 'the server function failed', cause);
      // The function cannot be interrupted: what it makes later is closed then.
      making.then(discard).catch(() => {});
      throw signal.reason;
    });
    const transport = connect(made, context);
    try {
      await abortable(transport.ready, signal);
      signal.throwIfAborted();
      return transport;
    } catch (cause) {
      // A server that cannot even be closed is no better news than why it could not be connected.
      await transport.close().catch(() => {});
      if (signal.aborted) throw signal.reason;
      throw startFailed(server, 'the server could not be connected', cause);
    }
  }
}

function connect(made: unknown, context: RuntimeContext): InProcessTransport {
  const { server, clock } = context;
  if (hasMethods<InProcessServer>(made, 'connect', 'close')) {
    const [near, far] = createLinkedPair((message, cause) => inPlaceOf(message, server, cause));
    const connected = async () => made.connect(far);
    return new InProcessTransport({ server, clock, inner: near, connect: connected, close: async () => made.close() });
  }
  if (hasMethods<Transport>(made, 'start', 'send', 'close')) {
    return new InProcessTransport({ server, clock, inner: made });
  }
  const kind = made === null ? 'null' : typeof made;
  throw startFailed(server, `the server function returned ${kind}, not a server or a transport`);
}

async function discard(made: unknown): Promise<void> {
  if (hasMethods<{ close(): Promise<void> }>(made, 'close')) await made.close();
}

function hasMethods<T>(value: unknown, ...names: (keyof T & string)[]): value is T {
  if (typeof value !== 'object' || value === null) return false;
  return names.every((name) => typeof (value as Record<string, unknown>)[name] === 'function');
}

function startFailed(server: string, message: string, cause?: unknown): GatewayError {
  const detail = isError(cause) ? `${message}: ${cause.message}` : message;
  return new GatewayError('START_FAILED', detail, { server, cause });
}
