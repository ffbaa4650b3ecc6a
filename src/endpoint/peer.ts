import type { GatewayError } from '../errors.js';
import type { JSONRPCMessage, MessageExtraInfo, RequestId } from '../sdk.js';

/** The gateway's side of one connection: takes what the caller sends. */
export interface Peer {
  /**
   * Takes a message of the caller. Never throws.
   *
   * @returns false for a request whose id is in use, which was not taken
   */
  receive(message: JSONRPCMessage, extra?: MessageExtraInfo): boolean;
  /** Answers what is still open, when it is not the caller who ends the connection. */
  failAll(reason: GatewayError): void;
  /** Ends every session with a server; open requests are abandoned. */
  close(): Promise<void>;
}

/** Sends to the caller; `relatedRequestId` is the caller's request that the message belongs to, if any. */
export type SendToCaller = (message: JSONRPCMessage, relatedRequestId: RequestId | undefined, server?: string) => void;

/** Makes the peer whose messages go to `send`. */
export type PeerFactory = (send: SendToCaller) => Peer;
