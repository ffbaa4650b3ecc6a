import type { Json, ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { Chance } from './chance.js';
import type { Call, Judge } from './judge.js';
import { isThere, type Member } from './members.js';
import type { World } from './world.js';

/** What servers say of tasks, and who may hear and find them: the connection that made them. */
export class TaskSteps {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** A server tells how one of its tasks is. */
  tell(instance: ScriptedInstance, chance: Chance): void {
    const { tasks, generation } = this.#world.servers.memory(instance);
    const [taskId, task] = chance.pick([...tasks]) ?? [];
    if (task === undefined || generation.era === 'modern') {
      return;
    }
    task.isDone ||= chance.oneIn(2);
    const status = task.isDone ? 'completed' : 'working';
    this.#world.judge.log(`${this.#world.judge.name(instance)} tells that ${taskId} is ${status}`);
    instance.notify('notifications/tasks/status', { taskId, status, ttl: 60_000, ...task.mark });
  }

  /** Whose task runs at a server that runs finds it there, and in the list, and no other. */
  async check(): Promise<void> {
    const checks: (() => void)[] = [];
    const { judge, gateway } = this.#world;
    for (const sent of [...judge.sent]) {
      const { call, member } = sent;
      const task = sent.result?.task as Json | undefined;
      if (call === undefined || task === undefined || !this.#isSure(call)) {
        continue;
      }
      judge.count('task found');
      const got = this.#world.request(member, 'tasks/get', { taskId: task.taskId }, {});
      const listed = this.#world.request(member, 'tasks/list', {}, {});
      checks.push(() => {
        const tasks = (listed.result?.tasks ?? []) as Json[];
        if (tasks.some(({ c }) => c !== member.index)) {
          judge.problem(`${judge.who(member)} sees tasks of others: ${JSON.stringify(tasks)}`);
        }
        const isListed = tasks.some(({ n, taskId }) => n === call.number && taskId === task.taskId);
        // One that is being stopped, or has ended just now, says so.
        const isOver = call.at?.instance.closed || (got.error?.data as Json | undefined)?.code !== undefined;
        if (!isOver && !gateway.status(call.server).stale && (got.result?.n !== call.number || !isListed)) {
          const text = `${judge.who(member)} asks for the task of call ${call.number}`;
          judge.problem(
            `${text}, and gets ${JSON.stringify([got.result ?? got.error, listed.result ?? listed.error])}`,
          );
        }
      });
    }
    await this.#world.passTime(10);
    for (const check of checks) {
      check();
    }
  }

  /** A session over HTTP may have ended meanwhile; what a reload has replaced takes no more requests. */
  #isSure({ member, at, server }: Call): boolean {
    const { entries, servers, judge } = this.#world;
    if (at === undefined || at.instance.closed || !isThere(member) || member.kind !== 'merged') {
      return false;
    }
    const { generation } = servers.memory(at.instance);
    const isCurrent = generation === entries.of(server).generation && generation.era === 'legacy';
    const isAsked = judge.limits === undefined && !this.#world.gateway.status(server).stale;
    return isCurrent && isAsked && entries.visible(member.seen).some(({ id }) => id === server);
  }
}

/** A caller hears how a task is. */
export function checkTaskStatus(judge: Judge, member: Member, params: Json, text: string): void {
  judge.count('task status');
  if (params.c !== member.index || (member.era === 'modern' && member.kind !== 'raw')) {
    judge.problem(`${judge.who(member)} hears of the task of ${params.c}: ${text}`);
  }
}
