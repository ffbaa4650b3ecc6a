import type { GatewayError } from '../errors.js';
import type { Caller } from '../runtime.js';
import type { JSONRPCMessage, MessageExtraInfo, RequestId } from '../sdk.js';
import type { JsonPart } from '../transport/json-part.js';

/** What comes with a message besides what SDKs know of. */
export interface PeerExtra extends MessageExtraInfo {
  /** The headers of a request of the stateless era over HTTP, which have to say what its body does. */
  readonly headers?: Headers | undefined;
  /** Who sends this very message, where each says so for itself; the same caller as ever, whose rights may be others now. */
  readonly caller?: Caller | undefined;
  /** The server whose `requestState` the request holds: it is for no other. */
  readonly stateOf?: string | undefined;
}

/** The gateway's side of one connection: takes what the caller sends. */
export interface Peer {
  /**
   * Takes a message of the caller. Never throws.
   *
   * @returns false for a request whose id is in use, which was not taken
   */
  receive(message: JSONRPCMessage, extra?: PeerExtra): boolean;
  /** Whether a request of this id is open. A peer that answers everything at once has none. */
  isOpen?(id: RequestId): boolean;
  /** Answers what is still open, when it is not the caller who ends the connection. */
  failAll(reason: GatewayError): void;
  /** Ends every session with a server; open requests are abandoned. */
  close(): Promise<void>;
}

/** The peer of a caller with a session. */
export interface SessionPeer extends Peer {
  /** The server that an open request is for, once that is known. */
  serverOf(id: RequestId): string | undefined;
  /** What `initialize` would be answered with now; there is none where that never changes. */
  initializeResult?(): Record<string, unknown>;
}

/** What is known of a message to the caller besides what it says. */
export interface SendInfo {
  /** The caller's request that it belongs to. */
  readonly related?: RequestId | undefined;
  /** Whose it is, if it is one server's. */
  readonly server?: string | undefined;
  /** Nobody knows which request it belongs to: `related` is the one that was sent last. */
  readonly isGuess?: boolean | undefined;
  /** Its result, with the JSON of that. */
  readonly part?: JsonPart | undefined;
  /** Of an update: what the caller is subscribed to that it tells of; undefined where its URI says that. */
  readonly forms?: readonly string[] | undefined;
}

/** Sends to the caller. */
export type SendToCaller = (message: JSONRPCMessage, info?: SendInfo) => void;

/** Makes the peer whose messages go to `send`. */
export type PeerFactory<T extends Peer = Peer> = (send: SendToCaller) => T;
