import type { ScriptedInstance } from '../../endpoint/scripted-server.js';
import type { CallerSteps } from './caller-steps.js';
import type { Chance } from './chance.js';
import type { Call } from './judge.js';
import { groupOf, isForCallers, isThere } from './members.js';
import { hasEnded, type PlayedTask } from './played-tasks.js';
import { markOfTask, taskOf } from './task-judge.js';
import type { World } from './world.js';

type Made = NonNullable<Call['task']>;

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
      this.#tell(instance, task);
    }
  }

  /** @returns by which number it is heard */
  #tell(instance: ScriptedInstance, task: PlayedTask): number {
    const number = this.#world.number();
    const params = { ...this.#world.servers.memory(instance).tasks.toJson(task), number };
    instance.notify('notifications/tasks/status', params);
    return number;
  }

  /** What a server can say of a task that runs. @returns what its caller has to hear of that */
  #sayAll({ number: n, member, token, task: made }: Call): string[] {
    const task = made && this.#world.servers.memory(made.instance).tasks.get(made.taskId);
    // A client over HTTP may have no stream on which it could hear of that.
    const hears = member.era === 'legacy' && member.kind !== 'fetch';
    if (made === undefined || task === undefined || hasEnded(task) || !hears) {
      return [];
    }
    const { instance, progressToken } = made;
    const heard: string[] = [];
    if (token !== undefined) {
      const progress = this.#world.number();
      instance.notify('notifications/progress', { progressToken, progress, total: 2, n });
      heard.push(`progress ${progress} of ${n}`);
    }
    if (this.#world.servers.memory(instance).generation.era === 'legacy') {
      heard.push(`status ${this.#tell(instance, task)}`);
    }
    return heard;
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
      const heard = this.#sayAll(call);
      checks.push(() => {
        // One that is being stopped, or has ended just now, says so.
        const isOver =
          call.at?.instance.closed ||
          (got.error?.data as { code?: unknown } | undefined)?.code !== undefined ||
          [400, 404].includes(got.error?.code as number);
        const isFound = got.result?.taskId === task.taskId;
        const isSame = isFound && (markOfTask(got.result ?? {})?.n ?? call.number) === call.number;
        if (!isOver && !gateway.status(call.server).stale && !isSame) {
          const text = `${judge.who(member)} asks for the task of call ${call.number}`;
          judge.problem(`${text}, and gets ${JSON.stringify(got.result ?? got.error)}`);
        }
        for (const what of isOver ? [] : heard) {
          judge.tasks.hasHeard(what) || judge.problem(`${judge.who(member)} does not hear of its task: ${what}`);
        }
      });
    }
    await this.#world.passTime(10);
    for (const check of checks) {
      check();
    }
  }

  /** Goes with what runs through all that a task may need, until it ends in one of all ways. */
  async playOut(callers: CallerSteps): Promise<void> {
    const { judge, servers, gateway } = this.#world;
    const all = judge.sent.flatMap(({ call, member, result }) => {
      const taskId = taskOf(result)?.taskId;
      const task = call?.task && servers.memory(call.task.instance).tasks.get(call.task.taskId);
      // What is asked of a client over HTTP, and taken back, may reach it on no stream.
      const isHeard = !member.kind.startsWith('fetch');
      const runs = call !== undefined && task !== undefined && !hasEnded(task) && task.question === undefined;
      return runs && taskId !== undefined && isHeard && this.#isSure(call)
        ? [{ ...(call.task as Made), call, member, taskId, task }]
        : [];
    });
    const ask = ({ member, taskId }: (typeof all)[0], method: string) =>
      judge.tasks.watch(this.#world.request(member, method, { taskId }, {}));
    const isLegacy = ({ member }: (typeof all)[0]) => member.era === 'legacy';
    const isThereStill = ({ member, instance, call }: (typeof all)[0]) =>
      isThere(member) && !instance.closed && !gateway.status(call.server).stale;
    const waits = all.map((each) => ({
      each,
      sent: isLegacy(each) ? [1, 2].map(() => ask(each, 'tasks/result')) : [],
    }));
    await this.#world.passTime(600);
    for (const { instance, task } of all) {
      servers.memory(instance).tasks.needInput(task);
    }
    const polls = new Map<(typeof all)[0], ReturnType<typeof ask>>();
    const pollAll = async () => {
      await this.#world.passTime(1_000);
      for (const each of all) {
        isThereStill(each) && polls.set(each, ask(each, 'tasks/get'));
      }
      await this.#world.passTime(10);
    };
    // Who is asked is asked in the place of whoever waits no more.
    for (const first of [true, false]) {
      await pollAll();
      // What a server with sessions asks for comes with a request of its own.
      await pollAll();
      for (const { each, sent } of waits) {
        const { member, task, call } = each;
        const [one, other] = sent;
        // A server that is being stopped takes no more questions of who polls.
        const { code } = Object(polls.get(each)?.error?.data);
        const isWaiting = isLegacy(each) ? other?.answers === 0 : code !== 'SERVER_STOPPED';
        const number = task.question?.number;
        const [capability = ''] = String(task.question?.json.method).split('/');
        const { era } = servers.memory(each.instance).generation;
        const isShared = era === 'legacy' && isForCallers(judge.ownersOf(each.instance));
        const canBeAsked = !isShared && member.capabilities[capability] !== undefined;
        const asked = member.asked.some((question) => question.number === number);
        if (isThereStill(each) && isWaiting && number && !asked && canBeAsked) {
          judge.problem(`${judge.who(member)} is not asked question ${number} of the task of call ${call.number}`);
        }
        first && one?.answers === 0 && callers.giveUp(one);
      }
    }
    for (const { member, task } of all) {
      for (const asked of member.asked.filter(({ number }) => number === task.question?.number)) {
        callers.respondTo(member, asked, asked.task !== undefined);
        asked.task && callers.respondTo(member, asked);
      }
    }
    await pollAll();
    for (const each of all.filter(isThereStill)) {
      const way = each.call.number % 4;
      const { tasks } = servers.memory(each.instance);
      hasEnded(each.task) ||
        (way === 0 ? ask(each, 'tasks/cancel') : tasks.end(each.task, way === 1 ? 'failed' : 'completed'));
    }
    await pollAll();
    for (const { each, sent } of waits) {
      const { member, call } = each;
      judge.count('task played out');
      judge.count(`task played out: ${member.era} to ${servers.memory(each.instance).generation.era}`);
      if (isThereStill(each) && hasEnded(each.task) && sent[1]?.answers === 0) {
        judge.problem(
          `${judge.who(member)} waits on for the task of call ${call.number}, which is ${each.task.status}`,
        );
      }
    }
  }

  /** A session over HTTP may have ended meanwhile; what a reload has replaced takes no more requests. */
  #isSure({ member, at, server, since }: Call): boolean {
    const { entries, servers, judge } = this.#world;
    if (at === undefined || at.instance.closed || !isThere(member) || member.kind === 'raw') {
      return false;
    }
    const { generation } = servers.memory(at.instance);
    const isAlone = groupOf(member, generation.isolation).startsWith('connection ');
    if (isAlone && judge.causes.since(since, server, ['replaced'])) {
      // A call that met a reload is served apart from what comes later, where nothing says that both are of one caller.
      return false;
    }
    const isCurrent = generation === entries.of(server).generation;
    const status = this.#world.gateway.status().find(({ id }) => id === server);
    const isAsked = judge.limits === undefined && status?.stale === false;
    return isCurrent && isAsked && entries.visible(member.seen).some(({ id }) => id === server);
  }
}
