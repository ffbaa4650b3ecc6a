import { inspect } from 'node:util';
import { GatewayError } from '../../../src/errors.js';
import { Notes } from '../../support/play-schedules.js';
import { realSleep } from '../../support/quick-time.js';
import type { Door } from './door.js';
import type { Fault } from './faults.js';
import { secret } from './host.js';
import type { Opened } from './opened.js';
import type { PlayedServer } from './played-server.js';

/** A host that has closed its runtime. */
interface Closed {
  readonly number: number;
  readonly door: Door;
  readonly opened: readonly Opened[];
  readonly closeError: unknown;
}

/** Sees what hosts and the engine get, and says what should not have been. */
export class Judge extends Notes {
  readonly #begin = performance.now();
  #last = 0;

  override log(line: string): void {
    super.log(`${(performance.now() - this.#begin).toFixed(1)} ${line}`);
  }

  fault(fault: Fault, call: string, id: string): void {
    this.count(`${fault}: ${call}`);
    if (fault !== 'none') this.log(`  ${fault}: ${call} ${id.slice(0, 13)}`);
  }

  /** A number that nothing else has. */
  next(): number {
    this.#last += 1;
    return this.#last;
  }

  async within(what: string, promise: Promise<unknown>, ms: number): Promise<void> {
    const done = await Promise.race([promise.then(() => true), realSleep(ms).then(() => false)]);
    if (!done) this.problem(`${what}: still waited for after ${ms} ms`);
  }

  keepsSecrets(where: string, what: unknown): void {
    if (inspect(what, { depth: 10, showHidden: true }).includes(secret)) this.problem(`${where} tells a secret`);
  }

  notOpened(instanceId: string, error: unknown, signal: AbortSignal, isDead: boolean): void {
    this.keepsSecrets(`the error of ${instanceId}`, error);
    if (signal.aborted && error === signal.reason) {
      this.count('aborted');
      return;
    }
    this.log(`${instanceId} is not opened: ${String(error)}`);
    if (isDead) return;
    if (signal.aborted) this.problem(`${instanceId} was aborted, and open() rejected with ${String(error)}`);
    else if (!GatewayError.is(error) || error.code !== 'START_FAILED' || error.server !== 'reference') {
      this.problem(`${instanceId}: open() rejected with ${inspect(error)}`);
    } else this.count('START_FAILED');
  }

  sendRefused(instanceId: string, error: unknown): void {
    this.keepsSecrets(`send() to ${instanceId}`, error);
    if (!GatewayError.is(error)) this.problem(`send() to ${instanceId} rejected with ${inspect(error)}`);
  }

  notStopped({ instanceId, stopErrors }: Opened, error: unknown): void {
    this.keepsSecrets(`close() of ${instanceId}`, error);
    if (!GatewayError.is(error) || error.code !== 'STOP_FAILED') {
      this.problem(`close() of ${instanceId} rejected with ${inspect(error)}`);
    }
    this.count('STOP_FAILED');
    stopErrors.push(error);
  }

  /** @param mayFail - something of it cannot be taken away */
  runtimeIsClosed({ number, closeError }: Closed, mayFail: boolean): void {
    if (closeError === undefined) return;
    this.keepsSecrets(`close() of runtime ${number}`, closeError);
    if (!GatewayError.is(closeError) || closeError.code !== 'STOP_FAILED') {
      this.problem(`close() of runtime ${number} rejected with ${inspect(closeError)}`);
    } else if (!mayFail) {
      this.problem(`close() of runtime ${number} rejected, and all can be taken away: ${closeError.message}`);
    }
    this.count('STOP_FAILED of a runtime');
  }

  async hostIsDone({ number, opened, door }: Closed): Promise<void> {
    for (const one of opened) this.#isDone(one);
    // The end of a connection takes a moment to come, on a busy machine a long one.
    for (let turn = 0; turn < 5_000 && door.sockets.size > 0; turn += 1) await realSleep(2);
    if (door.sockets.size > 0)
      this.problem(`host ${number} has connections after its end: ${[...door.calls.values()].join(', ')}`);
  }

  #isDone(one: Opened): void {
    const { instanceId, calls, server, got, sends } = one;
    const events = calls.filter((call) => call === 'reason' || call === 'close');
    if (events.join() !== 'close' && events.join() !== 'reason,close') {
      this.problem(`${instanceId}: ${calls.join(', ')}`);
    }
    if (events[0] === 'close' && !calls.includes('close() called')) this.problem(`${instanceId} ends without a reason`);
    if (server === undefined) {
      this.problem(`${instanceId} is open, and has no server`);
      return;
    }
    this.#messages(one, server);
    const arrived = server.received.map((message) => (message as { id: number }).id);
    if (new Set(arrived).size < arrived.length) this.problem(`${instanceId} got a message twice`);
    if (arrived.some((id, at) => id < (arrived[at - 1] ?? 0)))
      this.problem(`${instanceId} got messages in another order`);
    for (const { number, delivered, outcome } of sends) {
      if (outcome === 'refused') this.count(`delivered: ${String(delivered)}`);
      if (delivered === false && arrived.includes(number))
        this.problem(`${instanceId} got ${number}, which was not delivered`);
    }
    if (got.length > 0) this.count('message', got.length);
  }

  #messages({ instanceId, got, calls }: Opened, { said, saidWholly, beganUnheard }: PlayedServer): void {
    const texts = got.map((message) => JSON.stringify(message));
    let expected = said.map((message) => JSON.stringify(message));
    if (beganUnheard) expected = expected.slice(Math.max(0, expected.indexOf(texts[0] ?? '')));
    if (texts.some((text, at) => text !== expected[at])) {
      this.problem(`${instanceId} told ${texts.length} messages, which are not the first of what its server said`);
    }
    const byItself = calls[0] === 'reason';
    if (byItself && saidWholly && texts.length < expected.length) {
      this.problem(
        `${instanceId} told ${texts.length} of ${expected.length} messages, though the server ended by itself`,
      );
    }
  }
}
