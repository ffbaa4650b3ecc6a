import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Judge } from './judge.js';
import { groupOf, isForCallers, isThere, type Member } from './members.js';

const changed = 'notifications/roots/list_changed';

/** Who says that his roots have changed, and which servers hear of that. */
export class Roots {
  readonly #judge: Judge;

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** Nobody but the servers of a caller hears of his roots: after a reload perhaps twice, over two links that lead to one session. */
  check(instances: readonly ScriptedInstance[]): void {
    for (const instance of instances) {
      const { era, isolation } = this.#judge.servers.memory(instance).generation;
      const owners = this.#judge.ownersOf(instance);
      for (const { params } of instance.notifications(changed)) {
        this.#judge.count('roots changed');
        const member = this.#judge.members[params?.c as number];
        const isOwn = member !== undefined && (owners === undefined || groupOf(member, isolation) === owners);
        if (!isOwn || isForCallers(owners) || (era === 'modern' && member.kind !== 'raw')) {
          this.#judge.problem(`${this.#judge.name(instance)} of ${owners} hears of roots: ${JSON.stringify(params)}`);
        }
      }
    }
  }

  /** What a caller has said when all was quiet has come to every server with a session that he uses. */
  checkHeard(member: Member, number: number): void {
    for (const { member: who, at } of this.#judge.calls.values()) {
      if (who !== member || at === undefined || at.instance.closed || !isThere(member)) {
        continue;
      }
      const { era, isolation } = this.#judge.servers.memory(at.instance).generation;
      if (era === 'modern' || isForCallers(groupOf(member, isolation)) || isolation === 'request') {
        continue;
      }
      if (!at.instance.notifications(changed).some(({ params }) => params?.number === number)) {
        this.#judge.problem(`${this.#judge.name(at.instance)} does not hear of roots ${number} of ${member.index}`);
      }
    }
  }
}
