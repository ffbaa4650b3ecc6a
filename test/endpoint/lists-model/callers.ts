import { allListKinds, type ListKind, listKinds } from '../../../src/endpoint/list-kinds.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { Json } from '../scripted-server.js';
import type { Catalog } from './catalog.js';
import { type Mark, markOf } from './content.js';
import type { Judge } from './judge.js';
import type { Member } from './members.js';
import { keyOf } from './played.js';

const uses = {
  tools: ['tools/call', 'name'],
  prompts: ['prompts/get', 'name'],
  resources: ['resources/read', 'uri'],
  resourceTemplates: ['resources/read', 'uri'],
} as const;

/** What callers do with lists, and whether it leads where the lists say. */
export class Callers {
  readonly #judge: Judge;
  /** Everything that anybody was ever shown. */
  readonly #ever: { readonly kind: ListKind; readonly name: string }[] = [];

  readonly #catalog: Catalog;
  #calls = 0;

  constructor(judge: Judge, catalog: Catalog) {
    this.#judge = judge;
    this.#catalog = catalog;
  }

  /** Asks for all pages of a list. */
  list(member: Member, kind: ListKind): void {
    const askedAt = this.#judge.turn();
    const items: Json[] = [];
    const { method } = listKinds[kind];
    const take = (answer: Json) => {
      const result = answer.result as Json | undefined;
      if (result === undefined) {
        return this.#judge.problem(`${member.name} gets no list: ${JSON.stringify(answer)}`);
      }
      const page = result[kind] as Json[];
      items.push(...page);
      this.#judge.count(method);
      if (member.isModern) {
        this.#judge.checkFreshness(member, page.map(markOf), result);
      }
      if (result.nextCursor !== undefined) {
        this.#judge.count('cursor');
        return member.request(method, { cursor: result.nextCursor }, take);
      }
      member.held.set(kind, { items, askedAt, cameAt: this.#judge.turn() });
      this.#checkNames(member, kind, items);
      for (const item of items) {
        this.#ever.push({ kind, name: keyOf(kind, item) });
      }
    };
    member.request(method, {}, take);
  }

  /** Calls, gets or reads something of its latest list, or something that somebody was shown some time. */
  use(member: Member, chance: Chance): void {
    const kind = chance.one(allListKinds as [ListKind, ...ListKind[]]);
    const item = chance.pick(member.held.get(kind)?.items ?? []);
    const ever = chance.pick(this.#ever);
    if (item !== undefined && !chance.oneIn(3)) {
      this.useItem(member, kind, item);
    } else if (ever !== undefined) {
      this.#send(member, ever.kind, ever.name);
    }
  }

  useItem(member: Member, kind: ListKind, item: Json): void {
    this.#send(member, kind, keyOf(kind, item));
  }

  subscribe(member: Member, chance: Chance): void {
    const item = chance.pick(member.held.get('resources')?.items ?? []);
    if (item !== undefined && !member.isModern) {
      const method = chance.one(['resources/subscribe', 'resources/unsubscribe']);
      member.request(method, { uri: item.uri }, (answer) => this.#checkError(member, answer));
    }
  }

  #send(member: Member, kind: ListKind, name: string): void {
    const [method, key] = uses[kind];
    const latest = this.#latest(member, kind, name);
    const shown = member.held.get(kind);
    this.#calls += 1;
    this.#judge.sentUnder.set(this.#calls, this.#catalog.rules());
    const call = kind === 'tools' ? { arguments: { call: this.#calls } } : {};
    member.request(method, { [key]: name.replace('{n}', '7'), ...call }, (answer) => {
      const used = (answer.result as Json | undefined)?.used as { from: string; own: string } | undefined;
      if (used === undefined) {
        return this.#checkError(member, answer);
      }
      this.#judge.count('used');
      const own = latest?.own.replace('{n}', '7');
      if (member.held.get(kind) !== shown) {
        // A list came while the request waited, and may say otherwise.
        return;
      }
      if (latest !== undefined && !name.startsWith('{') && (used.from !== latest.from || used.own !== own)) {
        this.#judge.problem(
          `${member.name} was told that ${name} is ${JSON.stringify(latest)}, and has used ${JSON.stringify(used)}`,
        );
      }
    });
  }

  /** What its latest list says of a name. */
  #latest(member: Member, kind: ListKind, name: string): Mark | undefined {
    const item = member.held.get(kind)?.items.find((each) => keyOf(kind, each) === name);
    return item && markOf(item);
  }

  #checkError(member: Member, answer: Json): void {
    const { code, message } = (answer.error ?? { code: 0, message: 'none' }) as { code?: unknown; message?: unknown };
    if (!Number.isInteger(code) || typeof message !== 'string' || message === '') {
      this.#judge.problem(`${member.name} is refused, and nobody knows why: ${JSON.stringify(answer)}`);
    }
    answer.error !== undefined && this.#judge.count('refused');
  }

  /** No two of a list have one name, unless their server has told it twice. */
  #checkNames(member: Member, kind: ListKind, items: readonly Json[]): void {
    const seen = new Map<string, Mark>();
    for (const item of items) {
      const name = keyOf(kind, item);
      const mark = markOf(item);
      const before = seen.get(name);
      if (before !== undefined && (before.from !== mark.from || before.own !== mark.own || kind === 'tools')) {
        this.#judge.problem(`${member.name} is shown ${name} twice: ${JSON.stringify([before, mark])}`);
      }
      seen.set(name, mark);
    }
  }
}
