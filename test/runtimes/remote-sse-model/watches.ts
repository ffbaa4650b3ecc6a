import type { RequestId } from '../../../src/sdk.js';
import type { Judge } from './judge.js';
import type { Uri } from './listeners.js';
import type { Member, Message } from './members.js';

/** Something that a caller watches, or has watched. */
interface Watch {
  readonly id: RequestId;
  readonly uri: Uri;
  state: 'asked' | 'on' | 'over';
  answers: number;
  /** How often it had changed when the caller was last told, or began. */
  told: number;
  /** Its server has come anew since: what it was told may be of the one before. */
  isAnew: boolean;
}

/** What one caller watches at a server of the stateless era: by `resources/subscribe`, or by streams of its own. */
export class Watches {
  readonly #judge: Judge;
  readonly #member: Member;
  readonly #send: (message: Message) => Promise<void>;
  /** The same with an envelope, where the caller is of the stateless era. */
  readonly #listens: boolean;
  readonly #all = new Map<RequestId, Watch>();
  /** Words whose answers say nothing. */
  readonly #ends = new Set<RequestId>();

  constructor(judge: Judge, member: Member, listens: boolean, send: (message: Message) => Promise<void>) {
    this.#judge = judge;
    this.#member = member;
    this.#listens = listens;
    this.#send = send;
  }

  get isWaiting(): boolean {
    return [...this.#all.values()].some(({ state, answers }) => state === 'asked' && answers === 0);
  }

  /** How many of them go on. */
  countOf(uri: Uri): number {
    return [...this.#all.values()].filter((each) => each.uri === uri && each.state !== 'over').length;
  }

  begin(uri: Uri, number: number): void {
    if (this.countOf(uri) > (this.#listens ? 1 : 0)) return;
    const watch: Watch = { id: `watch ${number}`, uri, state: 'asked', answers: 0, told: 0, isAnew: false };
    this.#all.set(watch.id, watch);
    this.#judge.count('watch');
    this.#judge.log(`${this.#member.name} watches ${uri} under ${watch.id}`);
    const params = this.#listens ? { notifications: { resourceSubscriptions: [uri] } } : { uri };
    const method = this.#listens ? 'subscriptions/listen' : 'resources/subscribe';
    this.#send({ id: watch.id, method, params }).catch(() => {
      watch.state = 'over';
    });
  }

  end(number: number): void {
    const watch = [...this.#all.values()].find(({ state }) => state === 'on');
    if (watch === undefined) return;
    watch.state = 'over';
    this.#judge.count('watch no more');
    this.#judge.log(`${this.#member.name} ends ${watch.id}`);
    if (this.#listens) {
      this.#send({ method: 'notifications/cancelled', params: { requestId: watch.id } }).catch(() => {});
      return;
    }
    const id = `end ${number}`;
    this.#ends.add(id);
    this.#send({ id, method: 'resources/unsubscribe', params: { uri: watch.uri } }).catch(() => {});
  }

  /** True when the message belongs to something that is watched. */
  receive({ id, method, params, error }: Message): boolean {
    if (method === 'notifications/resources/updated' || method === 'notifications/subscriptions/acknowledged') {
      const stream = (params?._meta as Record<string, RequestId> | undefined)?.[
        'io.modelcontextprotocol/subscriptionId'
      ];
      if (method === 'notifications/resources/updated') this.#updated(params?.uri as Uri, stream);
      else this.#acknowledged(stream, params?.notifications as { resourceSubscriptions?: unknown[] });
      return true;
    }
    const watch = method === undefined ? this.#all.get(id as RequestId) : undefined;
    if (watch !== undefined) this.#answered(watch, error);
    return watch !== undefined || (method === undefined && this.#ends.delete(id as RequestId));
  }

  /** Its server comes anew. */
  excuse(): void {
    for (const watch of this.#all.values()) watch.isAnew = true;
  }

  /** Whoever watches knows of the last change. */
  check(refused: ReadonlySet<string>): void {
    for (const { id, uri, state, told, isAnew } of this.#all.values()) {
      if (state !== 'on' || isAnew || refused.has(uri)) continue;
      const changes = this.#judge.changesOf(uri);
      if (told < changes)
        this.#judge.problem(`${this.#member.name} knows of change ${told} of ${uri} (${id}), of ${changes}`);
      else if (changes > 0) this.#judge.count('all changes are known');
    }
  }

  checkAnswered(): void {
    for (const { id, state, answers } of this.#all.values()) {
      if (state === 'asked' && answers === 0) this.#judge.problem(`${id} of ${this.#member.name} is not answered`);
    }
  }

  #updated(uri: Uri, stream: RequestId | undefined): void {
    const name = `${this.#member.name} hears that ${uri} has changed (${stream})`;
    this.#judge.log(name);
    // Whom a server serves alone gets what it says as it is.
    if (stream === 'nobody' && this.#listens && this.#member.hearsAll) return;
    const watches = [...this.#all.values()].filter(
      (each) => each.uri === uri && (!this.#listens || each.id === stream),
    );
    if (watches.length === 0) this.#judge.problem(`${name}, which it does not watch`);
    if (this.#listens && watches[0]?.state === 'asked') this.#judge.problem(`${name} before that was acknowledged`);
    this.#judge.count('told of a change');
    for (const watch of watches) watch.told = this.#judge.changesOf(uri);
  }

  #acknowledged(stream: RequestId | undefined, honored: { resourceSubscriptions?: unknown[] } | undefined): void {
    const watch = this.#all.get(stream as RequestId);
    if (!this.#listens || watch === undefined) {
      return this.#judge.problem(`${this.#member.name} hears of a stream that is not its own: ${stream}`);
    }
    const isOn = honored?.resourceSubscriptions?.includes(watch.uri) === true;
    if (watch.state === 'asked') watch.state = isOn ? 'on' : 'over';
    watch.told = this.#judge.changesOf(watch.uri);
  }

  #answered(watch: Watch, error: Message['error']): void {
    watch.answers += 1;
    const text = `answer to ${watch.id} of ${this.#member.name}`;
    this.#judge.log(`${text}: ${JSON.stringify(error ?? 'result')}`);
    if (error !== undefined) this.#judge.checkSecrets(text, JSON.stringify(error));
    if (watch.answers > 1) this.#judge.problem(`${text} comes ${watch.answers} times`);
    // The answer to a stream is its end.
    if (this.#listens || error !== undefined) watch.state = 'over';
    else if (watch.state === 'asked') watch.state = 'on';
    watch.told = this.#judge.changesOf(watch.uri);
  }
}
