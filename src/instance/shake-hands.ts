import { GatewayError } from '../errors.js';
import type { Clock } from '../options.js';
import type { JSONRPCRequest, Transport } from '../sdk.js';
import { copyError } from '../util/copy-error.js';
import type { Exchanges, Response } from './exchanges.js';
import { type Handshake, readHandshake } from './handshake.js';

export interface ShakeHandsOptions {
  readonly server: string;
  /** For the answer to `initialize`; undefined where somebody below sees to it that one comes. */
  readonly startTimeoutMs: number | undefined;
  readonly clock: Clock;
  /** What the server gets as params of `initialize`, once it has started. */
  params(): NonNullable<JSONRPCRequest['params']>;
  /** Why a server has ended that ended then. */
  endedError(when: string): GatewayError;
}

export const justInitialized = 'just after it had answered initialize';

/**
 * Starts a transport whose messages go somewhere already, and makes the MCP handshake on it. Rejects when its server has ended
 * before that was done, also with the answer to `initialize`.
 *
 * @param exchanges - hand over the answer
 * @throws `GatewayError`; whatever `transport.start` has failed with
 */
export async function shakeHands(
  transport: Transport,
  exchanges: Exchanges,
  options: ShakeHandsOptions,
): Promise<Handshake> {
  const { server, startTimeoutMs, clock } = options;
  const { onclose } = transport;
  const failed = Promise.withResolvers<never>();
  failed.promise.catch(() => {});
  let isClosed = false;
  transport.onclose = () => {
    isClosed = true;
    failed.reject(options.endedError('before it answered initialize'));
  };
  await transport.start();
  const late = () => {
    const text = `no answer to initialize within start_timeout (${startTimeoutMs} ms)`;
    failed.reject(new GatewayError('START_TIMEOUT', text, { server, delivered: false }));
  };
  const timer = startTimeoutMs === undefined ? undefined : clock.setTimeout(late, startTimeoutMs);
  let handshake: Handshake;
  try {
    handshake = await initialize(transport, exchanges, options, failed.promise);
  } finally {
    clock.clearTimeout(timer);
    transport.onclose = onclose;
  }
  if (isClosed) {
    throw options.endedError(justInitialized);
  }
  return handshake;
}

async function initialize(
  transport: Transport,
  exchanges: Exchanges,
  options: ShakeHandsOptions,
  failed: Promise<never>,
): Promise<Handshake> {
  const params = options.params();
  const answered = Promise.withResolvers<Response>();
  const id = exchanges.open({ onAnswer: answered.resolve });
  try {
    transport.send({ jsonrpc: '2.0', id, method: 'initialize', params }).catch(answered.reject);
    const handshake = readHandshake(options.server, await Promise.race([answered.promise, failed]));
    transport.setProtocolVersion?.(handshake.protocolVersion);
    // A server that does not read may hold this up, too.
    const told = transport.send({ jsonrpc: '2.0', method: 'notifications/initialized' }).catch(() => {
      // Whatever became of that, what waits for the handshake was not sent.
      throw copyError(options.endedError(justInitialized), { delivered: false });
    });
    await Promise.race([told, failed]);
    return handshake;
  } finally {
    exchanges.forget(id);
  }
}
