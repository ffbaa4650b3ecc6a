import { isNotification, isRequest, type JSONRPCMessage, type RequestId } from '../../sdk.js';
import { isProgress } from '../json-rpc.js';

/**
 * Lets what comes after a notification wait until the server has taken it: connections keep no order among each other. An answer
 * waits for progress alone: a server may ask what a notification leads it to, and take that only once it has the answer. For a
 * cancellation waits only what bears the same id: it is sent where a server was silent, and may meet with silence itself.
 */
export class SendingOrder {
  /** Notifications on their way. */
  #ahead: Promise<void> | undefined;
  /** The last progress among them. */
  #progress: Promise<void> | undefined;
  /** Cancellations on their way, by the id of what they cancel. */
  readonly #cancelling = new Map<RequestId, Promise<void>>();
  /** Requests that wait, each with what drops it. */
  readonly #waiting = new Map<RequestId, () => void>();

  /**
   * Settles like `post`, which is called when it is the message's turn. A request that is cancelled before that never leaves,
   * nor does its cancellation: both resolve.
   */
  send(message: JSONRPCMessage, post: () => Promise<void>): Promise<void> {
    const ahead = 'method' in message ? this.#ahead : this.#progress;
    if (!isNotification(message)) {
      const cancelling = isRequest(message) ? this.#cancelling.get(message.id) : undefined;
      const both = cancelling === undefined ? ahead : cancelling.then(() => ahead);
      if (both === undefined) return post();
      return isRequest(message) ? this.#wait(message.id, both, post) : both.then(post);
    }
    const cancelled = cancelledId(message);
    const drop = this.#waiting.get(cancelled as RequestId);
    if (drop !== undefined) {
      drop();
      return Promise.resolve();
    }
    const sent = ahead === undefined ? post() : ahead.then(post);
    const settled = sent.then(
      () => {},
      () => {},
    );
    if (cancelled !== undefined) {
      this.#cancelling.set(cancelled, settled);
      void settled.then(() => this.#cancelling.get(cancelled) === settled && this.#cancelling.delete(cancelled));
      return sent;
    }
    this.#ahead = settled;
    if (isProgress(message)) this.#progress = settled;
    void settled.then(() => {
      if (this.#ahead === settled) this.#ahead = undefined;
      if (this.#progress === settled) this.#progress = undefined;
    });
    return sent;
  }

  #wait(id: RequestId, ahead: Promise<void>, post: () => Promise<void>): Promise<void> {
    return new Promise((resolve, reject) => {
      let isDropped = false;
      const drop = () => {
        isDropped = true;
        resolve();
      };
      this.#waiting.set(id, drop);
      void ahead.then(() => {
        // Another may have come under the same id.
        if (this.#waiting.get(id) === drop) this.#waiting.delete(id);
        if (!isDropped) post().then(resolve, reject);
      });
    });
  }
}

/** The request that a message cancels, if it does. */
export function cancelledId(message: JSONRPCMessage): RequestId | undefined {
  if (!('method' in message) || message.method !== 'notifications/cancelled') return undefined;
  return message.params?.requestId as RequestId | undefined;
}
