import { GatewayError } from '../errors.js';
import { toUnwritable } from '../instance/error-response.js';
import {
  isRequest,
  isResponse,
  type JSONRPCMessage,
  type MessageExtraInfo,
  type RequestId,
  type Transport,
} from '../sdk.js';
import { report, runCallback } from '../transport/callback.js';
import { handedOver } from '../transport/handed-over.js';
import { infoFor, isTaker, takesPart, withPart } from '../transport/json-part.js';
import { isCallersMessage, isRequestId } from '../transport/json-rpc.js';
import { assertWritable } from '../transport/nesting.js';
import { currentContext } from '../util/async-context.js';
import { once } from '../util/once.js';
import { toResponse } from './intercept.js';
import type { PeerFactory, SendToCaller } from './peer.js';

/** A session of the merged peer on a transport of the host. */
export interface ServedSession {
  /** Closes the transport and everything behind it; open requests are answered with the reason. */
  end(reason: GatewayError): Promise<void>;
}

/**
 * Serves the merged peer on a server-side transport of the host. Resolves when the transport has started; the session ends
 * with the transport. Callbacks that the host had set on it are called first. Messages are sent in the async context of the
 * call, whoever's turn a server has answered in.
 */
export async function serveEndpoint(
  transport: Transport,
  create: PeerFactory,
  sessions: Pick<Set<ServedSession>, 'add' | 'delete'>,
): Promise<void> {
  const inContext = currentContext();
  const send: SendToCaller = (message, { related: relatedRequestId, part } = {}) => {
    const related = relatedRequestId === undefined ? undefined : { relatedRequestId };
    const options = part === undefined ? related : infoFor(withPart(related, part), transport.send);
    // A caller that has gone cannot be told; its transport says so by onclose.
    const failed = (error: unknown) => {
      runCallback({}, () => transport.onerror?.(error as Error));
      if (isRequest(message)) {
        // Nobody else answers the server that asks. Why is for the host alone.
        const answer = { code: -32603, message: 'the client could not be asked' };
        endpoint.receive({ jsonrpc: '2.0', id: message.id, error: answer });
      } else if (isResponse(message)) {
        const { cause = error } = Object(error) as Error;
        if (cause instanceof RangeError || cause instanceof TypeError) {
          // It could not even be written: the caller is still there.
          (async () => transport.send(toUnwritable(message.id as RequestId, cause), related))().catch(() => {});
        }
      }
    };
    try {
      // Those of the SDKs for HTTP drop what they cannot write, and end the response. Ours says so.
      isTaker(transport.send) || assertWritable(message);
      const sent = inContext(() => transport.send(message, options));
      sent === handedOver || Promise.resolve(sent).catch(failed);
    } catch (error) {
      // One of somebody else may throw before it returns a promise.
      failed(error);
    }
  };
  const endpoint = create(send);
  const { onclose, onmessage } = transport;
  const end = once(async () => {
    try {
      await endpoint.close();
    } finally {
      sessions.delete(session);
    }
  });
  const session: ServedSession = {
    async end(reason) {
      endpoint.failAll(reason);
      const ended = end();
      await transport.close();
      await ended;
    },
  };
  const refuse = (message: JSONRPCMessage, error: unknown) => {
    report(transport, error);
    // Nobody else answers it, unless there is an open one of this id.
    if (
      Object(message) === message &&
      isRequest(message) &&
      isRequestId(message.id) &&
      !endpoint.isOpen?.(message.id)
    ) {
      send(toResponse(message.id, undefined, error, false), { related: message.id });
    }
  };
  // Not every transport looks at what its far end sends.
  const receive = (message: JSONRPCMessage, extra?: MessageExtraInfo) => {
    if (isCallersMessage(message)) {
      endpoint.receive(message, extra);
    } else {
      refuse(message, new GatewayError('MESSAGE_INVALID', 'this is not a JSON-RPC message', { delivered: false }));
    }
  };
  // A host that looks at messages first may change them.
  transport.onmessage =
    onmessage === undefined
      ? takesPart(receive)
      : (message: JSONRPCMessage, extra?: MessageExtraInfo) => {
          try {
            onmessage(message, extra);
          } catch (error) {
            refuse(message, error);
            return;
          }
          receive(message, extra);
        };
  transport.onclose = () => {
    // Whatever the host's own does, nothing may be left behind.
    runCallback(transport, () => onclose?.());
    void end().catch((error) => runCallback({}, () => transport.onerror?.(error)));
  };
  sessions.add(session);
  try {
    await transport.start();
  } catch (error) {
    await end();
    throw error;
  }
}
