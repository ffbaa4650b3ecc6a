import type { Chance } from './chance.js';
import type { Call } from './judge.js';
import { isThere } from './members.js';
import { hasEnded, type PlayedTask } from './played-tasks.js';
import { markOfTask, taskOf } from './task-judge.js';
import type { World } from './world.js';

/** What servers make of tasks and say of them, and who may find them: the caller for whom they were made. */
export class TaskSteps {
  readonly #world: World;

  constructor(world: World) {
    this.#world = world;
  }

  /** A task comes further, of which a server with sessions may tell. */
  goOn(chance: Chance): void {
    const running = this.#world.entries.servers
      .flatMap(({ live }) => live)
      .flatMap((instance) => this.#world.servers.memory(instance).tasks.all.map((task) => ({ instance, task })))
      .filter(({ task }) => !hasEnded(task) || chance.oneIn(4));
    const { instance, task } = chance.pick(running) ?? {};
    if (instance === undefined || task === undefined) {
      return;
    }
    const { tasks, generation } = this.#world.servers.memory(instance);
    if (!hasEnded(task)) {
      const next = chance.one<PlayedTask['status'] | undefined>([
        undefined,
        'input_required',
        'input_required',
        'completed',
        'completed',
        'failed',
        'cancelled',
      ]);
      if (next === 'input_required') {
        tasks.needInput(task);
      } else if (next !== undefined && next !== 'working') {
        tasks.end(task, next);
      }
    }
    this.#world.judge.log(`${task.taskId} of ${this.#world.judge.name(instance)} is ${task.status}`);
    if (generation.era === 'legacy' && chance.oneIn(2)) {
      instance.notify('notifications/tasks/status', tasks.toJson(task));
    }
  }

  endAll(): void {
    for (const { live } of this.#world.entries.servers) {
      for (const instance of live) {
        const { tasks } = this.#world.servers.memory(instance);
        for (const task of tasks.all) {
          hasEnded(task) || tasks.end(task, 'completed');
        }
      }
    }
  }

  /** Whose task runs at a server that runs finds it there, and in the list, and no other. */
  async check(): Promise<void> {
    const checks: (() => void)[] = [];
    const { judge, gateway } = this.#world;
    for (const { call, member, result } of [...judge.sent]) {
      const task = taskOf(result);
      if (call === undefined || task === undefined || !this.#isSure(call)) {
        continue;
      }
      judge.count('task found');
      judge.count(`task found: ${member.era} to ${this.#world.entries.of(call.server).generation.era}`);
      const got = judge.tasks.watch(this.#world.request(member, 'tasks/get', { taskId: task.taskId }, {}));
      checks.push(() => {
        // One that is being stopped, or has ended just now, says so.
        const isOver =
          call.at?.instance.closed || (got.error?.data as { code?: unknown } | undefined)?.code !== undefined;
        const isFound = got.result?.taskId === task.taskId;
        const isSame = isFound && (markOfTask(got.result ?? {})?.n ?? call.number) === call.number;
        if (!isOver && !gateway.status(call.server).stale && !isSame) {
          const text = `${judge.who(member)} asks for the task of call ${call.number}`;
          judge.problem(`${text}, and gets ${JSON.stringify(got.result ?? got.error)}`);
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
    if (at === undefined || at.instance.closed || !isThere(member) || !member.kind.startsWith('merged')) {
      return false;
    }
    const { generation } = servers.memory(at.instance);
    const isCurrent = generation === entries.of(server).generation;
    const isAsked = judge.limits === undefined && !this.#world.gateway.status(server).stale;
    return isCurrent && isAsked && entries.visible(member.seen).some(({ id }) => id === server);
  }
}
