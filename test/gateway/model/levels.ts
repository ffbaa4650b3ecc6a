import type { JSONRPCRequest } from '../../../src/sdk.js';
import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Call, Judge } from './judge.js';
import { groupOf, isForCallers, isThere, type Member } from './members.js';

export const levels = ['debug', 'info', 'notice', 'warning', 'error', 'critical', 'alert', 'emergency'] as const;
export const metaLevel = 'io.modelcontextprotocol/logLevel';

/** From which level on callers have asked for the log, and what servers and callers may get of that. */
export class Levels {
  readonly #judge: Judge;

  constructor(judge: Judge) {
    this.#judge = judge;
  }

  /** A server is told a level by its session. */
  told(instance: ScriptedInstance, level: unknown): void {
    const { isolation } = this.#judge.servers.memory(instance).generation;
    const principal = instance.context.caller?.principal;
    const owners = isolation === 'principal' && principal ? `principal ${principal}` : this.#judge.ownersOf(instance);
    this.#judge.count('level');
    if (owners !== undefined && (isForCallers(owners) || !this.#wanted(instance, owners).has(level))) {
      this.#judge.problem(`${this.#judge.name(instance)} of ${owners} is told a level of another: ${level}`);
    }
  }

  /** A call has come to a stateless server, which is told the level with it. */
  arrived(instance: ScriptedInstance, request: JSONRPCRequest, call: Call): void {
    const { member } = call;
    const { generation } = this.#judge.servers.memory(instance);
    if (generation.era === 'legacy') {
      return;
    }
    if (member.kind === 'raw' && member.era === 'legacy' && generation.isolation === 'caller') {
      // One that a stateless server has refused may go on: to such a connection nothing is added.
      return;
    }
    const level = (request.params?._meta as Json | undefined)?.[metaLevel];
    const owners = groupOf(member, generation.isolation);
    // Of callers who share it a session has no say.
    const isAlone = !isForCallers(owners) && this.#isAlone(owners, generation.isolation);
    const isSure = member.era === 'modern' || (isAlone && isSettled(call));
    const isOwn = isSure
      ? level === call.level
      : level === undefined || (!isForCallers(owners) && this.#wanted(instance, owners).has(level));
    if (!isOwn) {
      const text = `call ${call.number} comes to ${this.#judge.name(instance)} with the level ${level}`;
      this.#judge.problem(`${text}, and its caller has asked for ${call.level}`);
    }
  }

  /** @param told - what the server that writes it was told, if it was */
  logged(member: Member, level: unknown, told: unknown, text: string): void {
    const isLow = (wanted: unknown) => rank(level) < rank(wanted);
    if (member.era === 'modern' && member.kind !== 'raw') {
      const open = [...member.open.values(), ...member.crossing.values()].map((sent) => sent.level);
      if (!open.some((wanted) => wanted !== undefined && !isLow(wanted))) {
        this.#judge.problem(`${this.#judge.who(member)} has not asked for the log: ${text}`);
      }
    } else if (told !== undefined && member.era === 'legacy' && member.isLevelSettled && isLow(member.level)) {
      this.#judge.problem(`${this.#judge.who(member)} reads of the log from ${member.level} on: ${text}`);
    }
  }

  /** When all is quiet, each server knows the level of those who use it. */
  check(): void {
    for (const call of this.#judge.calls.values()) {
      const { member, at } = call;
      if (at === undefined || at.instance.closed || !isThere(member) || member.kind === 'raw') {
        continue;
      }
      const { generation, level } = this.#judge.servers.memory(at.instance);
      const owners = groupOf(member, generation.isolation);
      const wanted = member.era === 'legacy' ? member.level : call.level;
      const isSure = member.era === 'modern' || member.isLevelSettled;
      if (generation.era === 'legacy' && !isForCallers(owners) && isSure && wanted !== undefined) {
        this.#judge.count('level known');
        if (level === undefined || rank(level) > rank(wanted)) {
          const text = `${this.#judge.name(at.instance)} writes from ${level} on`;
          this.#judge.problem(`${text}, and ${this.#judge.who(member)} has asked for ${wanted}`);
        }
      }
    }
  }

  #wanted(instance: ScriptedInstance, owners: string): ReadonlySet<unknown> {
    const { isolation } = this.#judge.servers.memory(instance).generation;
    const own = this.#judge.members.filter((member) => groupOf(member, isolation) === owners);
    return new Set(own.flatMap((member) => [...member.levels]));
  }

  #isAlone(owners: string, isolation: 'caller' | 'shared' | 'principal' | 'request'): boolean {
    return this.#judge.members.filter((member) => groupOf(member, isolation) === owners).length === 1;
  }
}

/** Whether its caller has asked for no other level since it was sent. */
function isSettled({ member, level, isLevelSettled }: Call): boolean {
  return isLevelSettled && member.isLevelSettled && member.level === level;
}

function rank(level: unknown): number {
  return (levels as readonly unknown[]).indexOf(level);
}
