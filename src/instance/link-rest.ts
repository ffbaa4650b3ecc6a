import type { Clock } from '../options.js';
import type { LinkActivity } from './link-watch.js';

/** A link, as its rest sees it. */
export interface RestingLink {
  /** Undefined unless the link is open. */
  readonly handshake: object | undefined;
  /** Whether a request waits for its answer, or for the next server. */
  readonly isWaitedFor: boolean;
  activity(): LinkActivity;
  /** Ends the server. */
  rest(): void;
}

// How often to look whether a task has run out of its time.
const taskCheckMs = 1_000;

/**
 * What is between one server of a link and the next: the end of the one, which the next one waits for. A server that has lived
 * long enough is sent to rest as soon as nobody waits for it, and so is that of a link that is retired, after which comes none.
 */
export class LinkRest {
  readonly #link: RestingLink;
  readonly #clock: Clock;
  #end: Promise<void> | undefined;
  #gone: PromiseWithResolvers<void> | undefined;
  #isRetired = false;
  #hasOutlived = false;
  #timer: unknown;

  constructor(link: RestingLink, clock: Clock) {
    this.#link = link;
    this.#clock = clock;
  }

  /** Resolves when nothing is left of a server that was sent to rest; undefined when nothing is. */
  get end(): Promise<void> | undefined {
    return this.#end;
  }

  get isRetired(): boolean {
    return this.#isRetired;
  }

  /** A server ends: the next one waits for that, so there is one at a time. */
  begin(end: Promise<void>): void {
    this.#end = end
      .catch(() => {})
      .then(() => {
        this.#end = undefined;
      });
  }

  /** Resolves when the server that ends by itself, and is still the link's, is gone. */
  whenGone(): Promise<void> {
    this.#gone ??= Promise.withResolvers();
    return this.#gone.promise;
  }

  /** The link has no server any more. */
  gone(): void {
    this.#clock.clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#hasOutlived = false;
    this.#gone?.resolve();
    this.#gone = undefined;
  }

  /** The link serves what waits for it, and nothing else. */
  retire(): void {
    this.#isRetired = true;
    this.whenDone();
  }

  /** The server has lived long enough; the next one comes when it is needed. */
  outlived(): void {
    this.#hasOutlived = true;
    this.used(false);
  }

  /** Something that kept the server has ended. @param goesOn - whoever got it is about to ask for more */
  used(goesOn: boolean): void {
    if (this.#hasOutlived && !goesOn && this.#link.activity() !== 'working') {
      // At once: of a caller that asks without a pause there is always a request a turn later.
      this.#link.rest();
    } else {
      this.whenDone();
    }
  }

  /** Sends the server of a retired link, or one that has lived long enough, to rest when nobody waits for it. */
  whenDone(inMs = 0): void {
    if ((this.#isRetired || this.#hasOutlived) && this.#link.handshake !== undefined) {
      // Who waits for one answer to ask for the next, as lists do, asks within this turn of the event loop.
      this.#clock.clearTimeout(this.#timer);
      this.#timer = this.#clock.setTimeout(() => {
        this.#timer = undefined;
        if (this.#link.activity() !== 'working') {
          this.#link.rest();
        } else if (!this.#link.isWaitedFor) {
          // Of a task or a question that runs out of its time nobody is told.
          this.whenDone(taskCheckMs);
        }
      }, inMs);
    }
  }
}
