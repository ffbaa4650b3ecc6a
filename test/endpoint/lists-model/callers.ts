import { allListKinds, type ListKind, listKinds } from '../../../src/endpoint/list-kinds.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { Json } from '../scripted-server.js';
import { type Catalog, serverIds } from './catalog.js';
import { longName, type Mark, markOf } from './content.js';
import type { Judge } from './judge.js';
import type { Member } from './members.js';
import { keyOf } from './played.js';
import { ofBefore, ofNobody } from './snapshots.js';

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
  /** Lists whose next page may be asked for. */
  readonly #unfinished: (() => unknown)[] = [];
  /** That anybody was ever given. */
  readonly #cursors: [ListKind, unknown][] = [];

  constructor(judge: Judge, catalog: Catalog) {
    this.#judge = judge;
    this.#catalog = catalog;
  }

  /** Asks for all pages of a list. */
  list(member: Member, kind: ListKind): void {
    const askedAt = this.#judge.turn();
    const ofFirst = new Set(serverIds.filter((id) => this.#catalog.isFirst(id)));
    const items: Json[] = [];
    const { method } = listKinds[kind];
    const take = (answer: Json) => {
      const result = answer.result as Json | undefined;
      if (result === undefined && items.length > 0 && /cursor/.test(JSON.stringify(answer.error))) {
        // Others were begun since.
        return this.#judge.count('cursor: expired');
      }
      if (result === undefined) {
        return this.#judge.problem(`${member.name} gets no list: ${JSON.stringify(answer)}`);
      }
      const page = result[kind] as Json[];
      items.push(...page);
      this.#judge.count(method);
      this.#checkMayBeSeen(member, kind, page);
      this.#checkSnapshots(member, page, ofFirst);
      if (member.isModern) {
        this.#judge.checkFreshness(member, page.map(markOf), result);
      }
      const { nextCursor: cursor } = result;
      if (cursor !== undefined) {
        this.#judge.count('cursor');
        this.#cursors.push([kind, cursor]);
        this.#unfinished.push(() => member.isThere && member.request(method, { cursor }, take));
        return;
      }
      this.#checkWhole(member, kind, items);
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

  /** Asks for the next page of one that somebody is in the middle of. */
  goOn(chance: Chance): void {
    const [next] = this.#unfinished.splice(chance.below(this.#unfinished.length), 1);
    next?.();
  }

  /** Asks for the next page of all. @returns whether there were any */
  goOnWithAll(): boolean {
    const all = this.#unfinished.splice(0);
    for (const next of all) {
      next();
    }
    return all.length > 0;
  }

  /** Goes on with a list of another caller, or of another time: nothing must come of it that is not the caller's. */
  goOnWithOther(member: Member, chance: Chance): void {
    const [kind, cursor] = chance.pick(this.#cursors) ?? [];
    if (kind !== undefined) {
      member.request(listKinds[kind].method, { cursor }, (answer) => {
        const items = (answer.result as Json | undefined)?.[kind] as Json[] | undefined;
        this.#judge.count(items === undefined ? 'cursor: refused' : 'cursor: again');
        items === undefined ? this.#checkError(member, answer) : this.#checkMayBeSeen(member, kind, items);
      });
    }
  }

  /** Asks what may be filled in for something of its latest list. */
  complete(member: Member, chance: Chance): void {
    const kind = chance.one<ListKind>(['prompts', 'resourceTemplates']);
    const item = chance.pick(member.held.get(kind)?.items ?? []);
    item && this.completeItem(member, kind, item);
  }

  completeItem(member: Member, kind: ListKind, item: Json): void {
    const name = keyOf(kind, item);
    const ref = kind === 'prompts' ? { type: 'ref/prompt', name } : { type: 'ref/resource', uri: name };
    this.#ask(member, kind, name, 'completion/complete', { ref, argument: { name: 'n', value: '7' } }, (own) => own);
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
    this.#ask(member, kind, name, method, { [key]: filledIn(name) }, filledIn);
  }

  /** @param toOwn - what the server gets of its own name */
  #ask(
    member: Member,
    kind: ListKind,
    name: string,
    method: string,
    params: Json,
    toOwn: (own: string) => string,
  ): void {
    const latest = this.#latest(member, kind, name);
    const shown = member.held.get(kind);
    const call = this.#judge.sends(member.index, () => this.#catalog.rules(member.sees));
    member.request(method, { ...params, _meta: { call } }, (answer) => {
      const { used, for: whom } = (answer.result ?? {}) as { used?: { from: string; own: string }; for?: number };
      if (used === undefined) {
        return this.#checkError(member, answer);
      }
      this.#judge.count('used');
      if (whom !== undefined && whom !== member.index) {
        this.#judge.problem(`${member.name} gets what is for caller ${whom}`);
      }
      if (member.held.get(kind) !== shown) {
        // A list came while the request waited, and may say otherwise.
        return;
      }
      // Where a template may be filled in to what another one is, that is as good.
      const isOpen = method === 'resources/read' && /^\{|\+/.test(name.replace(/^mcp-gateway:..[a-z]./, ''));
      if (latest !== undefined && !isOpen && (used.from !== latest.from || used.own !== toOwn(latest.own))) {
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

  /** Nobody is shown what is for others, nor what it may not use now. */
  #checkMayBeSeen(member: Member, kind: ListKind, page: readonly Json[]): void {
    const rules = this.#catalog.shownRules(member.sees);
    for (const item of page) {
      const mark = markOf(item);
      if (!rules(mark.from, kind === 'tools' ? mark.own : undefined)) {
        this.#judge.problem(`${member.name} is shown ${JSON.stringify(mark)}, which it may not use`);
      }
      if (mark.for !== undefined && mark.for !== member.index) {
        this.#judge.problem(`${member.name} is shown what is for caller ${mark.for}`);
      }
    }
  }

  /** What the host gave is good for the entries that it was taken of. @param ofFirst - whose were there when it was asked for */
  #checkSnapshots(member: Member, page: readonly Json[], ofFirst: ReadonlySet<string>): void {
    for (const { from, make } of page.map(markOf)) {
      const isOfBefore = make.startsWith(ofBefore);
      this.#judge.count('of a snapshot', isOfBefore ? 1 : 0);
      if (make.startsWith(ofNobody) || (isOfBefore && !ofFirst.has(from))) {
        this.#judge.problem(`${member.name} is shown of a snapshot of ${from} what is not good`);
      }
    }
  }

  /** Of a long list all has come, and all of one time. */
  #checkWhole(member: Member, kind: ListKind, items: readonly Json[]): void {
    const long = items.map(markOf).filter(({ own }) => own.startsWith(longName));
    const [first] = long;
    this.#judge.count('long list', first === undefined ? 0 : 1);
    if (first?.count !== undefined && long.some(({ make }) => make !== first.make)) {
      this.#judge.problem(`${member.name} gets ${kind} of two times in one list`);
    }
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

function filledIn(name: string): string {
  return name.replace(/\{\+?n\}/, '7');
}
