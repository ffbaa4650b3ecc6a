import type { GatewayError } from '../errors.js';
import type { JSONRPCMessage, JSONRPCRequest, Transport, TransportSendOptions } from '../sdk.js';
import type { RpcError } from './exchanges.js';
import type { Handshake } from './handshake.js';
import type { SendOutcome } from './strict-transport.js';

/** What a link sends on. */
export interface LinkTransport extends Transport {
  /** Its server has ended, and `onclose` follows: nothing can be sent any more. */
  readonly isEnding?: boolean;
  /** It is open, and no server runs behind it: the next request starts one. */
  readonly isResting?: boolean;
  /** Its server waits for its turn to start: nothing would be lost with it. */
  readonly isQueued?: boolean;
  /** How long its server had run before this connection took it, in milliseconds. */
  readonly waitedMs?: number;
  /** Whose it is: of several connections of one user to one session, one gets what the server says to all. */
  user?: unknown;
  /** Set by its user: why a request that waits in it must not go to its server after all. */
  refusal?: ((request: JSONRPCRequest) => RpcError | undefined) | undefined;
  /** Set by its user: told that the server which it knows has come to rest since, and another one has opened. */
  onreopened?: ((handshake: Handshake) => void) | undefined;
  /** Ends it for a reason of ours. @returns the reason without the secrets of the server, whose words it may hold */
  fail?(reason: GatewayError): GatewayError;
  /** Rejects when what runs the server says that it is not alive. */
  health?(signal: AbortSignal): Promise<void>;
  /**
   * `send` with a callback, which costs less than a promise for each message.
   *
   * @param repeats - that a request is not to be answered, and `onOutcome` told, when {@link wasNotTaken}
   */
  post?(
    message: JSONRPCMessage,
    options: TransportSendOptions | undefined,
    onOutcome: SendOutcome,
    repeats?: boolean,
  ): boolean;
}

/**
 * The session has ended, or the server no longer knows it, which ends it: the next one can be given the request. One that is
 * to end when its other requests are done is not meant, and has no `exit` yet: nobody knows when that is.
 */
export function wasNotTaken({ code, delivered, exit }: GatewayError): boolean {
  return code === 'SESSION_LOST' && delivered === false && exit !== undefined;
}
