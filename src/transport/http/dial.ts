import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { buildConnector } from 'undici';
import type { Clock } from '../../options.js';

/**
 * Opens the stream of bytes below HTTP and TLS, for servers that no look-up of their name leads to.
 *
 * @throws what the connection failed with; `signal.reason` once aborted
 */
export type Dial = (signal: AbortSignal) => Promise<Duplex>;

/** What failed below HTTP, in words that need no others: it was on the way to another place than the one in the URL. */
export class DialError extends Error {}

export type Connector = ReturnType<typeof buildConnector>;
export type ConnectRequest = Parameters<Connector>[0];

/** A connection that is about to come about, and can be given up. */
export interface Pending {
  destroy(): void;
}

export type PendingConnector = (request: ConnectRequest, callback: Parameters<Connector>[1]) => Pending;

/**
 * `quick`, and `patient` where no address of a name has answered at once: Node gives all but the last of them 250 ms each, too
 * little for a server that is far away, or where a packet was lost.
 */
export function persistent(quick: Connector, patient: Connector): PendingConnector {
  return (request, callback) => {
    let isGivenUp = false;
    let pending = quick(request, (...outcome) => {
      const { errors = [] } = Object(outcome[0]?.cause) as { errors?: readonly NodeJS.ErrnoException[] };
      const isTooQuick = !isGivenUp && errors.some(({ code }) => code === 'ETIMEDOUT');
      if (isTooQuick) pending = patient(request, callback) as unknown as Pending;
      else callback(...outcome);
    }) as unknown as Pending;
    return {
      destroy() {
        isGivenUp = true;
        pending.destroy();
      },
    };
  };
}

/** `connector` on the streams of `dial`: adds TLS where the request is for https. */
export function dialled(connector: Connector, dial: Dial, timeoutMs: number, clock: Clock): PendingConnector {
  return (request, callback) => {
    const abort = new AbortController();
    const late = () => abort.abort(timeoutError(timeoutMs));
    const timer = clock.setTimeout(late, timeoutMs);
    let secured: Pending | undefined;
    dial(abort.signal).then(
      (stream) => {
        clock.clearTimeout(timer);
        // Until a request takes it, nobody listens.
        stream.on('error', () => {});
        if (abort.signal.aborted) {
          stream.destroy();
          callback(abort.signal.reason, null);
        } else if (request.protocol === 'https:') {
          // undici hands the stream to TLS as it is.
          const httpSocket = stream as Socket;
          secured = connector({ ...request, httpSocket }, (...[error, socket]) => {
            if (error === null) {
              callback(null, socket);
              return;
            }
            stream.destroy();
            callback(error, null);
          }) as unknown as Pending;
        } else {
          callback(null, stream as Socket);
        }
      },
      (error: Error) => {
        clock.clearTimeout(timer);
        callback(error, null);
      },
    );
    return {
      destroy() {
        abort.abort(new Error('the connection was given up'));
        secured?.destroy();
      },
    };
  };
}

function timeoutError(ms: number): Error {
  return Object.assign(new Error(`no connection within ${ms} ms`), { code: 'UND_ERR_CONNECT_TIMEOUT' });
}
