import { toUnwritable } from '../../instance/error-response.js';
import type { Clock } from '../../options.js';
import {
  isResponse,
  type JSONRPCMessage,
  type JSONRPCRequest,
  type MessageExtraInfo,
  type RequestId,
} from '../../sdk.js';
import { modernErrors } from '../../transport/modern.js';
import type { ModernPeer } from '../modern/modern-peer.js';
import { eventHeaders, keepAliveMs, mostUnreadBytes, patienceMs } from './event-response.js';

const statuses: Readonly<Record<number, number>> = {
  [-32700]: 400,
  [-32600]: 400,
  [-32601]: 404,
  [modernErrors.headerMismatch]: 400,
  [modernErrors.missingCapability]: 400,
  [modernErrors.unsupportedVersion]: 400,
};

/**
 * The response to a request of the stateless era: JSON, or a stream of events when something comes before the answer.
 *
 * @param incoming - what brought the request; held until the end, as its signal tells of nothing once it is garbage
 */
export function respond(
  peer: ModernPeer,
  request: JSONRPCRequest,
  extra: MessageExtraInfo,
  incoming: Request,
  clock: Clock,
): Promise<Response> {
  return new Promise((resolve) => {
    let stream: EventStream | undefined;
    let isDone = false;
    const patience = clock.setTimeout(() => begin(), patienceMs);
    const finish = () => {
      isDone = true;
      clock.clearTimeout(patience);
      incoming.signal.removeEventListener('abort', cancel);
    };
    const cancel = () => {
      if (!isDone) {
        finish();
        stream?.end();
        exchange?.cancel({ reason: 'the client has left' });
        // Nobody reads it.
        resolve(new Response(null, { status: 499 }));
      }
    };
    const begin = () => {
      if (stream === undefined) {
        stream = new EventStream(clock, cancel);
        resolve(new Response(stream.body, { headers: eventHeaders }));
      }
      return stream;
    };
    let exchange: { cancel(params: Record<string, unknown>): void } | undefined;
    try {
      exchange = peer.request(request, extra, (message) => {
        if (isDone) {
          return;
        }
        const isAnswer = !('method' in message);
        if (stream === undefined && isAnswer) {
          finish();
          resolve(toResponse(message));
          return;
        }
        const events = stream ?? begin();
        events.send(message);
        if (isAnswer) {
          finish();
          events.end();
        }
      });
    } catch (error) {
      finish();
      throw error;
    }
    incoming.signal.addEventListener('abort', cancel, { once: true });
    if (incoming.signal.aborted) {
      cancel();
    }
  });
}

function toJson(message: JSONRPCMessage): string {
  try {
    return JSON.stringify(message);
  } catch (error) {
    if (isResponse(message)) {
      return JSON.stringify(toUnwritable(message.id as RequestId, error));
    }
    throw error;
  }
}

/** A message alone as a response. */
export function toResponse(message: JSONRPCMessage, status?: number): Response {
  const code = 'error' in message ? message.error.code : undefined;
  return new Response(toJson(message), {
    status: status ?? (code === undefined ? 200 : (statuses[code] ?? 200)),
    headers: { 'content-type': 'application/json' },
  });
}

const encoder = new TextEncoder();

/** A body of server-sent events. */
class EventStream {
  readonly body: ReadableStream<Uint8Array>;
  readonly #clock: Clock;
  readonly #onLeft: () => void;
  readonly #controller: ReadableStreamDefaultController<Uint8Array>;
  #timer: unknown;
  #isOpen = true;

  /** @param onLeft - the client does not read any more */
  constructor(clock: Clock, onLeft: () => void) {
    this.#clock = clock;
    this.#onLeft = onLeft;
    const strategy = new ByteLengthQueuingStrategy({ highWaterMark: 64 * 1024 });
    let control: ReadableStreamDefaultController<Uint8Array> | undefined;
    this.body = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          control = controller;
        },
        cancel: () => {
          this.end();
          onLeft();
        },
      },
      strategy,
    );
    // A stream starts in its constructor.
    this.#controller = control as unknown as ReadableStreamDefaultController<Uint8Array>;
    this.#keepAlive();
  }

  send(message: JSONRPCMessage): void {
    this.#write(`event: message\ndata: ${toJson(message)}\n\n`);
  }

  end(): void {
    if (this.#isOpen) {
      this.#isOpen = false;
      this.#clock.clearTimeout(this.#timer);
      try {
        this.#controller.close();
      } catch {
        // The client was faster.
      }
    }
  }

  #keepAlive(): void {
    this.#timer = this.#clock.setTimeout(() => {
      // Before it is written: that may find out that the client does not read, which ends the stream.
      this.#keepAlive();
      this.#write(': still here\n\n');
    }, keepAliveMs);
  }

  #write(text: string): void {
    if (!this.#isOpen) {
      return;
    }
    // Not what this text adds: a message that is larger by itself is no fault of the client.
    if (Number(this.#controller.desiredSize) < -mostUnreadBytes) {
      this.#isOpen = false;
      this.#clock.clearTimeout(this.#timer);
      this.#controller.error(new Error(`the client left ${mostUnreadBytes} bytes unread`));
      this.#onLeft();
      return;
    }
    this.#controller.enqueue(encoder.encode(text));
  }
}
