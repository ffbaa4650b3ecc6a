import { GatewayError } from '../../errors.js';
import type { Clock } from '../../options.js';
import type { JSONRPCMessage, JSONRPCRequest, RequestId } from '../../sdk.js';
import { modernRevision } from '../../transport/modern.js';
import type { Response } from '../exchanges.js';
import type { SendOutcome } from '../strict-transport.js';
import { EraSearch } from './era-search.js';
import { createEnvelope, toInitializeResult, toModernCapabilities } from './introductions.js';
import { Questions } from './questions.js';
import { type Discovery, offersModern, type ServerEra, type Verdict } from './server-era.js';

export interface EraHandshakeSettings {
  readonly server: string;
  readonly era: ServerEra;
  readonly clock: Clock;
  /** How long a server may keep silent when it is asked for its era, until it gets `initialize` as well, in milliseconds. */
  readonly probeTimeoutMs: number;
  /** How long it may keep silent on both, until it is started afresh, in milliseconds. */
  readonly silenceTimeoutMs: number;
}

/** A server that may turn out to be one that has to be started afresh. */
export interface ShakenServer {
  /** Whether it may end by itself and be no failure. */
  expectEnd?(expected: boolean): void;
  /** Nobody waits for the answer to this request any more; the server is not told. */
  forget?(id: RequestId): void;
}

/** What a handshake sees and does of its connection. */
export interface ShakenConnection {
  /** For a request of our own: one that no other has. */
  nextId(): RequestId;
  post(message: JSONRPCMessage, onOutcome: SendOutcome): void;
  /** The server that is asked now. */
  current(): ShakenServer;
  /**
   * Another server takes the place of the one that has ended, or will not answer any more.
   *
   * @param since - from when on the time counts in which it has to find a place
   */
  replace(since: number): Promise<void>;
  /** The server is of the stateless era: what comes from now on is to be translated. */
  begin(discovery: Discovery): void;
}

type Params = NonNullable<JSONRPCRequest['params']>;

/** One handshake with a server whose era may not be known: finds that out, and what to answer to `initialize`. */
export class EraHandshake {
  readonly #settings: EraHandshakeSettings;
  readonly #connection: ShakenConnection;
  readonly #request: JSONRPCRequest;
  readonly #params: Params;
  readonly #questions: Questions;

  /** @param request - the caller's `initialize` */
  constructor(settings: EraHandshakeSettings, connection: ShakenConnection, request: JSONRPCRequest) {
    this.#settings = settings;
    this.#connection = connection;
    this.#request = request;
    this.#params = request.params ?? {};
    this.#questions = new Questions((question, onOutcome) => connection.post(question, onOutcome));
  }

  /** Whether a message is an answer that it waits for. */
  take(message: JSONRPCMessage): boolean {
    return this.#questions.take(message);
  }

  /** No answer will come any more. */
  giveUp(): void {
    this.#questions.giveUp();
  }

  /** @returns the answer to `initialize`; undefined when the connection has ended, which is told on its own */
  async run(): Promise<Response | undefined> {
    const { era, clock, server } = this.#settings;
    const request = this.#request;
    // One that finds no place has to say so before the handshake takes too long.
    const since = clock.now() - 1;
    let early: Response | undefined;
    if (era.known !== 'legacy') {
      const verdict = await this.#discover(request);
      if (verdict === undefined) {
        return undefined;
      }
      if (verdict.era === 'modern') {
        return this.#begin(verdict);
      }
      if (verdict.era === 'failed') {
        return { jsonrpc: '2.0', id: request.id, error: verdict.error };
      }
      if (era.isFixed) {
        if (verdict.era === 'ended' && verdict.error !== undefined) {
          return { jsonrpc: '2.0', id: request.id, error: verdict.error };
        }
        const message = `the server does not speak revision ${modernRevision}, as protocol: modern says it does`;
        throw new GatewayError('START_FAILED', message, { server, delivered: false });
      }
      if (verdict.era === 'ended') {
        await this.#connection.replace(since);
      } else {
        early = verdict.initialized;
      }
    }
    const answer = early ?? (await this.#questions.ask(request));
    if (answer !== undefined && 'result' in answer) {
      era.learn('legacy');
    } else if (answer !== undefined && !era.isFixed && offersModern(answer)) {
      // It was asked too early, or has changed since.
      const verdict = await this.#discover();
      if (verdict === undefined) {
        return undefined;
      }
      if (verdict.era === 'modern') {
        return this.#begin(verdict);
      }
      const error = 'error' in verdict ? verdict.error : undefined;
      return error === undefined ? answer : { jsonrpc: '2.0', id: request.id, error };
    } else if (answer !== undefined && !era.isFixed && answer.error.code < 0) {
      // It may not be what it was: the next start asks again.
      era.learn(undefined);
    }
    return answer;
  }

  #begin({ discovery }: Extract<Verdict, { era: 'modern' }>): Response {
    const { server, era } = this.#settings;
    era.learn('modern');
    this.#connection.begin(discovery);
    return { jsonrpc: '2.0', id: this.#request.id, result: toInitializeResult(server, this.#params, discovery) };
  }

  /** @param initialize - what a server that keeps silent gets as well */
  #discover(initialize?: JSONRPCRequest): Promise<Verdict | undefined> {
    const { era, clock, probeTimeoutMs, silenceTimeoutMs } = this.#settings;
    const asked = this.#connection.current();
    const search = new EraSearch({
      clock,
      questions: this.#questions,
      isPatient: era.isFixed || era.known === 'modern',
      probeTimeoutMs,
      silenceTimeoutMs,
      // One that has refused a session knows the question: its end is a failure.
      expectEnd: (expected) => asked.expectEnd?.(expected && initialize !== undefined && !era.isFixed),
      forget: (id) => asked.forget?.(id),
    });
    return search.run(() => this.#createProbe(), initialize);
  }

  #createProbe(): JSONRPCRequest {
    const { capabilities, clientInfo } = this.#params;
    const meta = createEnvelope(toModernCapabilities(capabilities), clientInfo);
    return { jsonrpc: '2.0', id: this.#connection.nextId(), method: 'server/discover', params: { _meta: meta } };
  }
}
