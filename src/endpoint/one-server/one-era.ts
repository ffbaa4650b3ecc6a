import { isRequest, type JSONRPCMessage, type JSONRPCRequest, type MessageExtraInfo } from '../../sdk.js';
import { hasEnvelope, legacyRevisions, metaKeys, modernErrors, modernRevision } from '../../transport/modern.js';
import { missingEnvelope } from '../modern/envelope.js';
import type { Peer, SendToCaller, SessionPeer } from '../peer.js';

/** Lets a caller speak the revisions with sessions alone. */
export class LegacyOnly implements Peer {
  readonly #session: SessionPeer;
  readonly #send: SendToCaller;

  constructor(session: SessionPeer, send: SendToCaller) {
    this.#session = session;
    this.#send = send;
  }

  receive(message: JSONRPCMessage, extra?: MessageExtraInfo): boolean {
    if (!isRequest(message) || !hasEnvelope(message)) {
      return this.#session.receive(message, extra);
    }
    const requested = message.params?._meta?.[metaKeys.protocolVersion];
    this.#send(unsupported(message, requested, legacyRevisions), { related: message.id });
    return true;
  }

  failAll(reason: Parameters<Peer['failAll']>[0]): void {
    this.#session.failAll(reason);
  }

  close(): Promise<void> {
    return this.#session.close();
  }
}

/** Stands where a session would be, for callers that may speak the stateless revision alone. */
export class NoSession implements Peer {
  readonly #send: SendToCaller;

  constructor(send: SendToCaller) {
    this.#send = send;
  }

  receive(message: JSONRPCMessage): boolean {
    if (!isRequest(message)) {
      return true;
    }
    const { id, method, params } = message;
    const answer =
      method === 'initialize'
        ? unsupported(message, params?.protocolVersion, [modernRevision])
        : ({ jsonrpc: '2.0', id, error: missingEnvelope } as const);
    this.#send(answer, { related: id });
    return true;
  }

  failAll(): void {}

  async close(): Promise<void> {}
}

function unsupported({ id, method }: JSONRPCRequest, requested: unknown, supported: readonly string[]): JSONRPCMessage {
  const message = `${method} is of a revision that is not spoken here`;
  const error = { code: modernErrors.unsupportedVersion, message, data: { supported, requested } };
  return { jsonrpc: '2.0', id, error };
}
