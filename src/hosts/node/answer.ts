import type { ServerResponse } from 'node:http';
import { patienceMs } from '../../endpoint/http/event-response.js';
import type { Clock } from '../../options.js';
import type { RequestId } from '../../sdk.js';
import { lengthOf, writePart } from '../../transport/json-part.js';
import type { MessageJson } from '../../transport/message-json.js';
import { EventStream } from './event-stream.js';
import { giveUp } from './queued-responses.js';

/**
 * The response to a POST with requests: JSON when the answer to the only one comes first and soon, else events, the answers
 * among them.
 */
export class Answer {
  readonly #response: ServerResponse;
  readonly #clock: Clock;
  readonly #waiting: Set<RequestId>;
  readonly #patience: unknown;
  /** The client has left. */
  #isLost = false;
  #events: EventStream | undefined;

  constructor(response: ServerResponse, ids: readonly RequestId[], clock: Clock) {
    this.#response = response;
    this.#clock = clock;
    this.#waiting = new Set(ids);
    this.#patience = clock.setTimeout(() => this.#begin(), patienceMs);
    response.once('close', () => {
      this.#isLost = true;
      clock.clearTimeout(this.#patience);
    });
  }

  /** The client does not wait any more. What it has asked for goes on. */
  get isLost(): boolean {
    return this.#isLost;
  }

  /** Sends what belongs to a request and is not its answer. */
  send(json: MessageJson): void {
    this.#begin()?.send(json);
  }

  /** Sends the answer to one of the requests; the last one ends the response. */
  finish(id: RequestId, json: MessageJson): void {
    this.#waiting.delete(id);
    if (this.#waiting.size > 0) {
      this.#begin()?.send(json);
      return;
    }
    this.#clock.clearTimeout(this.#patience);
    if (this.#events !== undefined) {
      this.#events.end(json);
      return;
    }
    if (this.#isTaken()) {
      return;
    }
    // Head and body leave in one write this way, with a Content-Length.
    const response = this.#response;
    // A framework may have set another one before, as Koa does.
    response.statusCode = 200;
    response.setHeader('content-type', 'application/json');
    if (typeof json === 'string') {
      response.end(json);
    } else {
      const [before, part, behind] = json;
      response.setHeader('content-length', Buffer.byteLength(before) + lengthOf(part) + behind.length);
      response.cork();
      response.write(before);
      writePart(response, part);
      response.end(behind);
      response.uncork();
    }
  }

  /** One of the requests gets no answer. */
  drop(id: RequestId): void {
    this.#waiting.delete(id);
    if (this.#waiting.size === 0) {
      this.#begin()?.end();
    }
  }

  #begin(): EventStream | undefined {
    if (this.#events === undefined && !this.#isTaken()) {
      this.#clock.clearTimeout(this.#patience);
      this.#events = new EventStream(this.#response, this.#clock);
    }
    return this.#events;
  }

  /** Whether the host has begun the response itself. Unless it has ended that too, it is given up: no answer can follow. */
  #isTaken(): boolean {
    const response = this.#response;
    if (response.headersSent && !response.writableEnded) {
      giveUp(response);
    }
    return response.headersSent;
  }
}
