import { allListKinds, type ListKind, listKinds } from '../../../src/endpoint/list-kinds.js';
import type { Json, ScriptedInstance } from '../scripted-server.js';
import { type Mark, markOf } from './content.js';
import type { Member } from './members.js';
import { keyOf } from './played.js';
import type { Schedule } from './schedule.js';

/** What a caller would be shown now, and of which servers that is not sure. */
interface Expected {
  readonly marks: readonly Mark[];
  readonly unsure: ReadonlySet<string>;
}

/** Lets everything come to rest, and looks whether each caller knows what there is. */
export class Ending {
  readonly #schedule: Schedule;

  constructor(schedule: Schedule) {
    this.#schedule = schedule;
  }

  async finish(): Promise<void> {
    await this.#comeToRest();
    await this.#useServers();
    for (const member of this.#members) {
      for (const kind of allListKinds) {
        this.#checkTold(member, kind);
      }
    }
    await this.#checkLists();
    await this.#checkNames();
    await this.#checkQuiet();
  }

  get #members(): Member[] {
    return this.#schedule.members.filter(({ isThere }) => isThere);
  }

  async #comeToRest(): Promise<void> {
    const { played, host } = this.#schedule;
    played.nextOpen = 'at once';
    played.answering.clear();
    for (let round = 0; round < 3; round += 1) {
      host.comeToRest();
      await this.#schedule.pause();
      played.openDoors();
      await this.#schedule.pause();
      for (const held of played.held.splice(0)) {
        played.release(held);
      }
      await this.#schedule.pause();
      host.comeToRest();
      await this.#schedule.passTime(31_000);
    }
    await this.#passPages();
  }

  /** Every caller uses all its servers, and asks for no list. */
  async #useServers(): Promise<void> {
    const { catalog, host } = this.#schedule;
    host.letsCallsPass = true;
    for (const member of this.#members) {
      for (const { id } of catalog.visible(member.sees)) {
        const name =
          catalog.naming === undefined
            ? `${id}__nobody`
            : catalog.naming({ server: id, name: 'nobody', kind: 'prompt' });
        member.request('prompts/get', { name }, () => {});
        await this.#schedule.pause();
      }
    }
    await this.#schedule.passTime(100);
    host.letsCallsPass = false;
  }

  /** Who holds a list that is another one now was told so since. */
  #checkTold(member: Member, kind: ListKind): void {
    const { judge, played, catalog, host } = this.#schedule;
    const held = member.held.get(kind);
    const { changed } = listKinds[kind];
    const way = member.ways.get(changed);
    if (held === undefined || way === undefined || way > held.askedAt) {
      return;
    }
    const { marks, unsure } = this.#expected(member, kind);
    const ignored = new Set(unsure);
    for (const { id, generation } of catalog.visible({})) {
      // Nobody can tell of those.
      generation.isolation === 'request' && ignored.add(id);
      const instance = this.#instanceOf(member, id);
      const silent = instance && played.memory(instance).silent.get(kind);
      const isLacking =
        host.isUnsure(id, kind, member.index, held.askedAt) ||
        judge.hasFailed(id, kind, held.askedAt) ||
        judge.wasStopping(id, held.askedAt, held.cameAt);
      if (isLacking || (silent !== undefined && silent > held.askedAt)) {
        ignored.add(id);
      }
    }
    const told = member.told.get(changed)?.at ?? 0;
    const shown = held.items.map(markOf);
    const differs = textOf(shown, ignored) !== textOf(marks, ignored);
    judge.count(differs ? 'held an older list' : 'held a good list');
    if (differs && told < held.askedAt) {
      judge.problem(
        `${member.name} holds ${kind} of before, and was not told: ${textOf(shown, ignored)}, now ${textOf(marks, ignored)}`,
      );
    }
  }

  /** Who lists now is shown what there is. */
  async #checkLists(): Promise<void> {
    const { callers, judge } = this.#schedule;
    const { played } = this.#schedule;
    played.answering.clear();
    // The first answer may be one that came late, before a change of which nobody was told.
    for (let round = 0; round < 2; round += 1) {
      for (const member of this.#members) {
        for (const kind of allListKinds) {
          callers.list(member, kind);
        }
      }
      await this.#passPages();
    }
    for (const member of this.#members) {
      for (const kind of allListKinds) {
        const { marks, unsure } = this.#expected(member, kind);
        const shown = member.held.get(kind)?.items.map(markOf) ?? [];
        if (textOf(shown, unsure) !== textOf(marks, unsure)) {
          judge.problem(`${member.name} sees ${kind} ${textOf(shown, unsure)}, not ${textOf(marks, unsure)}`);
        }
      }
    }
  }

  /** Every name leads somewhere, and where it says. */
  async #checkNames(): Promise<void> {
    const { callers } = this.#schedule;
    for (const member of this.#members) {
      for (const kind of allListKinds) {
        for (const item of sampleOf(member.held.get(kind)?.items ?? [])) {
          callers.useItem(member, kind, item);
          (kind === 'prompts' || kind === 'resourceTemplates') && callers.completeItem(member, kind, item);
        }
      }
      await this.#schedule.pause();
    }
  }

  /** While nothing changes nobody is told that it does. */
  async #checkQuiet(): Promise<void> {
    const { judge, callers } = this.#schedule;
    await this.#schedule.passTime(1_000);
    const before = this.#told();
    for (let round = 0; round < 3; round += 1) {
      for (const member of this.#members) {
        callers.list(member, 'tools');
        callers.list(member, 'resources');
      }
      await this.#passPages();
      await this.#schedule.passTime(20_000);
    }
    if (this.#told() !== before) {
      judge.problem(`nothing changes, and callers are told that it does: ${before}, then ${this.#told()}`);
    }
    for (const member of this.#members) {
      for (const [method, { times }] of member.told) {
        if (times > 2 * judge.causes + 20) {
          judge.problem(`${member.name} is told ${times} times of ${method}, for ${judge.causes} reasons`);
        }
      }
    }
  }

  async #passPages(): Promise<void> {
    do {
      await this.#schedule.passTime(100);
    } while (this.#schedule.callers.goOnWithAll());
  }

  #told(): string {
    return JSON.stringify(this.#members.map(({ told }) => [...told].map(([method, { times }]) => [method, times])));
  }

  #expected(member: Member, kind: ListKind): Expected {
    const { catalog, played, host } = this.#schedule;
    const unsure = new Set<string>();
    const rules = catalog.rules(member.sees);
    const marks = catalog.visible(member.sees).flatMap(({ id, generation }) => {
      const instance = this.#instanceOf(member, id);
      const items =
        generation.isolation === 'request' && !this.#isStale(id)
          ? played.itemsOfNext(id, generation, member.index, kind)
          : instance && played.itemsOf(instance, kind);
      if (items === undefined && !host.isAlone(id, kind, member.index)) {
        unsure.add(id);
        return [];
      }
      const shown = host.shown(id, kind, member.index, items ?? []) ?? [];
      return shownOf(kind, shown).filter(({ own }) => kind !== 'tools' || rules(id, own));
    });
    return { marks, unsure };
  }

  /** Whether what runs is of an entry of before. */
  #isStale(id: string): boolean {
    return this.#schedule.gateway.status(id).stale;
  }

  /** The only instance that a caller may have to do with. */
  #instanceOf(member: Member, id: string): ScriptedInstance | undefined {
    const { catalog, played } = this.#schedule;
    const entry = catalog.visible({}).find((each) => each.id === id);
    if (entry === undefined || entry.generation.isolation === 'request' || this.#isStale(id)) {
      return undefined;
    }
    const group = groupOf(member.caller ?? {}, entry.generation.isolation);
    const own = (played.servers.get(id)?.live ?? []).filter(
      (instance) =>
        // One that was started ahead has said nothing to anybody yet.
        instance.received.length > 0 &&
        played.memory(instance).generation === entry.generation &&
        groupOf(instance.context.caller ?? {}, entry.generation.isolation) === group,
    );
    return own.length === 1 ? own[0] : undefined;
  }
}

function groupOf(
  { id, principal, data }: { id?: unknown; principal?: unknown; data?: unknown },
  isolation: string,
): string {
  if (isolation === 'shared') {
    return 'everybody';
  }
  if (isolation === 'principal' && principal !== undefined) {
    return `principal ${principal}`;
  }
  return id === undefined ? JSON.stringify(data ?? null) : `caller ${id} ${principal}`;
}

/** As the merged peer shows it: what has a name of its own once. */
function shownOf(kind: ListKind, items: readonly Json[]): Mark[] {
  const seen = new Set<string>();
  return items.flatMap((item) => {
    const key = keyOf(kind, item);
    const isTwice = (kind === 'tools' || kind === 'prompts') && seen.has(key);
    seen.add(key);
    return isTwice ? [] : [markOf(item)];
  });
}

function textOf(marks: readonly Mark[], ignored: ReadonlySet<string>): string {
  return marks
    .filter(({ from }) => !ignored.has(from))
    .map(({ own, make }) => `${make}:${own.slice(0, 16)}`)
    .join(' ');
}

/** All of a short list. */
function sampleOf(items: readonly Json[]): readonly Json[] {
  const step = Math.ceil(items.length / 60);
  return items.filter((_, index) => index % step === 0);
}
