import { instanceLabel, ownerLabel, serverLabel } from '../../../src/runtimes/docker/labels.js';
import { DockerRuntime, type DockerSpec } from '../../../src/runtimes/docker.js';
import type { Chance } from '../../gateway/model/chance.js';
import { temporaryFolder } from '../../support/docker.js';
import { Host, secret } from '../model/host.js';
import { HostSchedule, type Step } from '../model/host-schedule.js';
import type { PlayedContainer } from './container.js';
import { FaultyEngine } from './engine.js';

/** Hosts on a container engine. */
export class Schedule extends HostSchedule<DockerSpec, PlayedContainer> {
  readonly #foreign: PlayedContainer[] = [];
  #isFar = false;
  /** It stays as good as it is. */
  #isTame = false;
  /** The engine was there all the time, and has done what it was asked. */
  #isCalm = true;
  #engine!: FaultyEngine;
  #folder!: Awaited<ReturnType<typeof temporaryFolder>>;

  protected override async begin(chance: Chance): Promise<void> {
    this.#folder = await temporaryFolder();
    this.#engine = new FaultyEngine(chance, this.#folder.path, this.judge);
    this.#foreign.push(
      this.#engine.addForeign('foreign', {}),
      this.#engine.addForeign('odd', { [ownerLabel]: 'nobody', [serverLabel]: 'reference' }),
      this.#engine.addForeign('elsewhere', { [ownerLabel]: 'other-machine/1/1/1', [serverLabel]: 'reference' }),
    );
    this.#isFar = chance.oneIn(3);
    await this.addHost();
    await this.addHost();
    this.#isTame = chance.oneIn(3);
    this.#worsen(this.#isTame ? 0 : chance.one([0, 10, 30]));
  }

  protected override async addHost(): Promise<Host<DockerSpec>> {
    const door = await this.#engine.door(this.#isFar);
    const host = new Host<DockerSpec>({
      number: this.hosts.length,
      door,
      runtime: new DockerRuntime({ host: door.host, env: { HOME: this.#folder.path } }),
      clock: this.clock,
      judge: this.judge,
      // The last one: what was made before was not the one that opened.
      serverOf: (_, instanceId) => this.#engine.made.findLast(({ labels }) => labels[instanceLabel] === instanceId),
    });
    this.hosts.push(host);
    return host;
  }

  protected override choose(chance: Chance): DockerSpec {
    return {
      image: 'image',
      args: ['serve'],
      ...(chance.oneIn(3) && { container_name: 'named' }),
      ...(chance.oneIn(20) && { container_name: 'foreign' }),
      ...(chance.oneIn(6) && { pull: 'always' as const }),
      ...(chance.oneIn(6) && { pull: 'never' as const }),
    };
  }

  protected override pickServer(chance: Chance): PlayedContainer | undefined {
    return chance.pick([...this.#engine.containers.values()].filter(({ door }) => door !== undefined));
  }

  protected override steps(
    chance: Chance,
    host: Host<DockerSpec> | undefined,
    server: PlayedContainer | undefined,
  ): readonly Step[] {
    return [
      [6, () => server && this.#die(server, chance.one([0, 1, 137]), chance.oneIn(3))],
      [3, () => server && this.#cut(server, chance.oneIn(2))],
      [3, () => server && this.#cutWaits(server)],
      [1, () => server && this.#stick(server)],
      [this.#isTame ? 0 : 2, () => this.#restart(chance.oneIn(2), chance.one([0, 5, 30, 150]))],
      [this.#isTame ? 0 : 4, () => this.#worsen(chance.one([0, 0, 10, 30]))],
      [2, () => this.#loseImage()],
      [2, () => host && this.#kill(host)],
    ];
  }

  protected override heal(): Promise<void> {
    return this.#engine.heal();
  }

  protected override sweep(next: Host<DockerSpec>): Promise<void> {
    return this.openOnce(next, { image: 'image' });
  }

  protected override judgeEnd(): void {
    const { judge } = this;
    const { containers, made } = this.#engine;
    if (this.#isCalm) judge.count('calm');
    if (this.#isCalm && judge.counts.has('engine-lost')) {
      judge.problem('the engine was lost, and it was there all the time');
    }
    for (const one of this.#foreign) {
      if (containers.get(one.id)?.state !== 'running')
        judge.problem(`the container ${one.name} of others does not run`);
    }
    for (const one of containers.values()) {
      // Who is not there any more is noticed by who writes.
      one.mutter('still here', true);
      if (one.door !== undefined && !one.stuck) judge.problem(`the container ${one.name} is left, ${one.state}`);
    }
    for (const host of this.hosts) {
      const stuck = [...containers.values()].filter((one) => one.stuck && one.door === host.door);
      if (stuck.length > 0 && !host.isDead && host.stopErrors.length === 0) {
        judge.problem(`${host.id} was not told that a container could not be removed`);
      }
      const ofDead = [...containers.values()].some((one) => one.stuck && one.door?.isDead);
      judge.runtimeIsClosed(host, stuck.length > 0 || ofDead);
    }
    for (const { name, body } of made) {
      const { Env, ...rest } = body;
      if (JSON.stringify([name, rest]).includes(secret)) judge.problem(`${name} shows a secret`);
    }
  }

  protected override async dispose(): Promise<void> {
    await this.#engine[Symbol.asyncDispose]();
    await this.#folder[Symbol.asyncDispose]();
  }

  #die(container: PlayedContainer, code: number, oom: boolean): void {
    const line = `${container.name} ends with ${code}`;
    this.happens(oom ? 'out of memory' : 'death', line, this.#engine.endServer(container, code, oom));
  }

  #cut(container: PlayedContainer, clean: boolean): void {
    this.happens('cut', `${container.name} loses its connection`);
    container.cut(clean);
  }

  #cutWaits(container: PlayedContainer): void {
    this.happens('wait cut', `the waits for the end of ${container.name} are cut`, this.#engine.cutWaits(container));
  }

  #stick(container: PlayedContainer): void {
    this.happens('stuck', `${container.name} cannot be removed`);
    container.stuck = true;
  }

  #restart(goOn: boolean, ms: number): void {
    const line = `the engine restarts, ${ms} ms, its containers ${goOn ? 'go on' : 'end'}`;
    this.#isCalm = false;
    this.happens('restart', line, this.#engine.restart(goOn, ms));
  }

  #worsen(badness: number): void {
    this.judge.log(`badness ${badness}`);
    this.#isCalm &&= badness === 0;
    this.#engine.badness = badness;
  }

  #loseImage(): void {
    this.judge.log('the image is removed');
    this.#engine.hasImage = false;
  }

  async #kill(host: Host<DockerSpec>): Promise<void> {
    // Its code goes on here, without an engine.
    this.#isCalm = false;
    await this.kill(host);
    this.#engine.markDead();
  }
}
