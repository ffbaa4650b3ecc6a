import type { ServerResponse } from 'node:http';
import { eventHeaders, keepAliveMs, mostUnreadBytes } from '../../endpoint/http/event-response.js';
import type { Clock } from '../../options.js';
import { writePart } from '../../transport/json-part.js';
import type { MessageJson } from '../../transport/message-json.js';
import { giveUp } from './queued-responses.js';

/** A response of server-sent events, kept alive by comments. Ends with the response, whoever ends that. */
export class EventStream {
  readonly #response: ServerResponse;
  readonly #clock: Clock;
  #timer: unknown;

  constructor(response: ServerResponse, clock: Clock) {
    this.#response = response;
    this.#clock = clock;
    // Not in a chain: a `writeHead` that a framework has put in place, as restify does, may return nothing.
    response.writeHead(200, eventHeaders);
    response.flushHeaders();
    response.once('close', () => clock.clearTimeout(this.#timer));
    // The host may end it itself: what is written then until it is closed would end the process with an error.
    response.on('error', () => {});
    this.#keepAlive();
  }

  /** @param json - a message as JSON, in one line */
  send(json: MessageJson): void {
    if (this.#response.writableLength > mostUnreadBytes) {
      giveUp(this.#response);
      return;
    }
    this.#write(json);
  }

  /** @param json - the last message */
  end(json?: MessageJson): void {
    this.#clock.clearTimeout(this.#timer);
    if (json !== undefined) {
      this.#write(json);
    }
    this.#response.end();
  }

  #write(json: MessageJson): void {
    this.#response.cork();
    if (typeof json === 'string') {
      this.#response.write(`event: message\ndata: ${json}\n\n`);
    } else {
      this.#response.write(`event: message\ndata: ${json[0]}`);
      writePart(this.#response, json[1]);
      this.#response.write(`${json[2]}\n\n`);
    }
    this.#response.uncork();
  }

  #keepAlive(): void {
    this.#timer = this.#clock.setTimeout(() => {
      this.#response.write(': still here\n\n');
      this.#keepAlive();
    }, keepAliveMs);
  }
}
