import type { RequestId } from '../../../src/sdk.js';
import type { Chance } from '../../gateway/model/chance.js';
import { EventStream } from './event-stream.js';
import { cut, type Exchange } from './host.js';
import { sendJson } from './json-answer.js';
import type { Message } from './members.js';
import type { Play } from './play.js';

export const uris = ['file:///a', 'file:///b'] as const;
export type Uri = (typeof uris)[number];

const subscriptionId = 'io.modelcontextprotocol/subscriptionId';
const clientInfo = 'io.modelcontextprotocol/clientInfo';

interface Listener {
  readonly id: RequestId;
  /** As its client calls itself. */
  readonly owner: string;
  readonly uris: readonly string[];
  readonly hasLists: boolean;
  readonly stream: EventStream;
}

/** Who listens at a server of the stateless era, and what it has to tell them. */
export class Listeners {
  readonly #play: Play;
  readonly #open = new Set<Listener>();
  /** Some of them are refused what they listened to before: nobody is told of that. */
  readonly refused = new Set<string>();

  constructor(play: Play) {
    this.#play = play;
  }

  forget(): void {
    this.#open.clear();
  }

  /** Who listens for a URI, with one name for each stream. */
  of(uri: string): string[] {
    return [...this.#open].filter((each) => each.stream.isOpen && each.uris.includes(uri)).map(({ owner }) => owner);
  }

  /** Opens a stream, or does not. */
  async take(exchange: Exchange, message: Message, chance: Chance): Promise<void> {
    const play = this.#play;
    const wanted = (message.params?.notifications ?? {}) as {
      toolsListChanged?: true;
      resourceSubscriptions?: string[];
    };
    const own = wanted.resourceSubscriptions ?? [];
    await play.mayWait(chance, 5);
    // Nobody waits for it any more.
    if (exchange.response.destroyed) return;
    const how = chance.weigh([
      [16, 'listens'],
      [play.odd(1), 'cut'],
      [play.odd(2), 'refuse'],
      [play.odd(1), 'fail'],
      [play.odd(1), 'redirect'],
      [play.odd(1), 'error'],
      [play.odd(1), 'nothing'],
    ]);
    play.judge.count(`listen: ${how}`);
    if (how === 'nothing') for (const uri of own) this.refused.add(uri);
    if (how === 'cut') return cut(exchange, chance);
    if (how === 'refuse') return play.refuse(exchange, chance);
    if (how === 'fail') return play.fail(exchange, chance);
    if (how === 'redirect') return play.redirect(exchange, chance, false);
    if (how === 'error') {
      const error = { code: -32_602, message: 'not that' };
      return sendJson(exchange, { jsonrpc: '2.0', id: message.id, error }, chance);
    }
    // It may stay open for as long as its client likes.
    play.host.unanswered.delete(exchange.request);
    const id = message.id as RequestId;
    const stream = new EventStream('s', chance, false);
    stream.open(exchange);
    const notifications = how === 'nothing' ? {} : wanted;
    const client = message.params?._meta as { [clientInfo]?: { name?: string } } | undefined;
    const owner = client?.[clientInfo]?.name ?? 'nobody';
    const listener = {
      id,
      owner,
      uris: how === 'nothing' ? [] : own,
      hasLists: wanted.toolsListChanged === true,
      stream,
    };
    this.#open.add(listener);
    exchange.response.on('close', () => this.#open.delete(listener));
    this.#tell(listener, 'notifications/subscriptions/acknowledged', { notifications });
  }

  /** Something changes: whoever listens for that is told. */
  change(uri: Uri): void {
    this.#play.judge.change(uri);
    for (const each of this.#open)
      if (each.uris.includes(uri)) this.#tell(each, 'notifications/resources/updated', { uri });
  }

  /** Ends a stream on which something was watched. @returns what is watched there, if there is one */
  interrupt(chance: Chance): Uri | undefined {
    const listener = chance.pick([...this.#open].filter((each) => each.stream.isOpen && each.uris.length > 0));
    if (listener === undefined) return undefined;
    this.#play.judge.count('watching interrupted');
    this.#open.delete(listener);
    if (chance.oneIn(2)) listener.stream.cut();
    else listener.stream.end();
    return listener.uris[0] as Uri;
  }

  speak(chance: Chance): void {
    this.#play.judge.count('said by itself');
    if (chance.oneIn(3)) {
      for (const each of this.#open) if (each.hasLists) this.#tell(each, 'notifications/tools/list_changed', {});
    } else this.change(chance.one(uris));
  }

  /** Ends a stream, or says something on it that makes no sense. */
  disturb(chance: Chance): void {
    const listener = chance.pick([...this.#open].filter(({ stream }) => stream.isOpen));
    if (listener === undefined) return;
    const { id, stream } = listener;
    const [uri = uris[0]] = listener.uris;
    const over = (run: () => void) => () => {
      this.#open.delete(listener);
      run();
    };
    const params = { uri, _meta: { [subscriptionId]: 'nobody' } };
    const result = { resultType: 'complete', _meta: { [subscriptionId]: id } };
    const what = chance.weigh([
      [3, 'cut'],
      [2, 'ended'],
      [2, 'answered'],
      [1, 'taken back'],
      [1, 'of nobody'],
      [1, 'no JSON'],
    ] as const);
    this.#play.judge.count(`stream that listens: ${what}`);
    const does = {
      cut: over(() => (chance.oneIn(2) ? stream.cut() : stream.sendAndCut({ jsonrpc: '2.0', method: 'x', params }))),
      ended: over(() => stream.end()),
      answered: over(() => {
        stream.send({ jsonrpc: '2.0', id, result });
        stream.end();
      }),
      'taken back': over(() => {
        stream.send({ jsonrpc: '2.0', method: 'notifications/cancelled', params: { requestId: id } });
        stream.end();
      }),
      'of nobody': () => stream.send({ jsonrpc: '2.0', method: 'notifications/resources/updated', params }),
      'no JSON': () => stream.send('no JSON'),
    };
    does[what]();
  }

  #tell({ id, stream }: Listener, method: string, params: object): void {
    stream.send({ jsonrpc: '2.0', method, params: { ...params, _meta: { [subscriptionId]: id } } });
  }
}
