import type { Clock } from '../../../src/options.js';
import { type Chance, createChance } from '../../gateway/model/chance.js';
import type { PlayedSchedule } from '../../support/play-schedules.js';
import { realSleep } from '../../support/quick-time.js';
import type { Host } from './host.js';
import { Judge } from './judge.js';
import type { PlayedServer } from './played-server.js';

const patienceMs = 30_000;

export type Step = readonly [weight: number, run: () => unknown];

/** Two hosts, what runs their servers, and whatever may happen to them, one step for each number. */
export abstract class HostSchedule<Spec, Server extends PlayedServer> implements PlayedSchedule {
  readonly judge = new Judge();
  protected readonly clock: Clock;
  protected readonly hosts: Host<Spec>[] = [];
  /** What was set going and has to come to its end. */
  protected readonly going: Promise<unknown>[] = [];
  readonly #setting: number;
  #begun: Promise<void> | undefined;

  constructor(clock: Clock, setting: number) {
    this.clock = clock;
    this.#setting = setting;
  }

  /** Sets up what runs the servers. */
  protected abstract begin(chance: Chance): Promise<void>;
  /** A host with its own way to it, who is added to `hosts`. */
  protected abstract addHost(): Promise<Host<Spec>>;
  protected abstract choose(chance: Chance): Spec;
  /** A server that runs. */
  protected abstract pickServer(chance: Chance): Server | undefined;
  /** What may happen here besides what may happen everywhere. */
  protected abstract steps(chance: Chance, host: Host<Spec> | undefined, server: Server | undefined): readonly Step[];
  /** From now on everything goes right. */
  protected abstract heal(): Promise<void>;
  /** The next host takes away what those that were killed have left. */
  protected abstract sweep(next: Host<Spec>): Promise<void>;
  /** Looks at what is left when all hosts have closed. */
  protected abstract judgeEnd(): void;
  protected abstract dispose(): Promise<void>;

  async step(number: number): Promise<void> {
    await this.#begin();
    const chance = createChance(number);
    const host = chance.pick(this.hosts.filter(({ isDead }) => !isDead));
    const one = chance.pick(host?.opened.filter(({ isOver }) => !isOver) ?? []);
    const server = this.pickServer(chance);
    const noise = ['noise\n', '{"jsonrpc":"2.0"\n', '[]\n', '\u0000\n'] as const;
    const run = chance.weigh<() => unknown>([
      [14, () => realSleep(chance.one([0, 1, 3, 10, 40]))],
      [3, () => host?.open(this.choose(chance))],
      // Most go on when a server is there.
      [9, () => host && this.#openAndWait(host, chance)],
      [3, () => host && this.#openAndAbort(host, chance)],
      [2, () => host?.abort(chance)],
      [25, () => one?.send(chance)],
      [6, () => one?.close()],
      [18, () => server?.say({ jsonrpc: '2.0', method: 'notifications/number', params: { n: this.judge.next() } })],
      [4, () => server?.mutter(chance.one(noise), chance.oneIn(2))],
      [1, () => host?.check(this.choose(chance))],
      ...this.steps(chance, host, server),
    ]);
    await run();
  }

  async finish(): Promise<void> {
    await this.#begin();
    const chance = createChance(this.#setting);
    const within = (what: string, promise: Promise<unknown>) => this.judge.within(what, promise, patienceMs);
    const living = this.hosts.filter(({ isDead }) => !isDead);
    const opened = () => living.flatMap((host) => host.opened);
    // Some end while things still go wrong.
    if (chance.oneIn(2)) for (const one of opened()) void one.close();
    if (chance.oneIn(2)) await realSleep(30);
    await within('the end of faults', this.heal());
    await within('what was going on', Promise.all(this.going));
    // One that never comes is waited for as long as its caller does: of hosts that were killed, too, whose code goes on here.
    for (const host of this.hosts) host.abortAll();
    await within('each open() to settle', Promise.all(this.hosts.map((host) => host.opening())));
    await within('each close()', Promise.all(opened().map((one) => one.close())));
    await within('each send() to settle', Promise.all(opened().map((one) => one.sent())));
    await within('close() of the runtimes', Promise.all(living.map((host) => host.close())));
    const next = await this.addHost();
    await within('the next host', this.sweep(next));
    await within('what was going on', this.heal());
    this.judgeEnd();
    for (const host of [...living, next]) await this.judge.hostIsDone(host);
    // Their code goes on here, and would come to another schedule by the port that this one has now.
    const killed = this.hosts.filter(({ isDead }) => isDead);
    await within('close() of what was killed', Promise.all(killed.map((host) => host.close())));
    await this.dispose();
  }

  /** The end of its process: nothing of it goes out any more, and another one takes its place. */
  protected async kill(host: Host<Spec>): Promise<void> {
    this.judge.log(`${host.id} is killed`);
    this.judge.count('kill');
    host.isDead = true;
    host.door.kill();
    await this.addHost();
  }

  /** Something happens that goes on beside what follows. */
  protected happens(what: string, line: string, goesOn?: Promise<unknown>): void {
    this.judge.log(line);
    this.judge.count(what);
    if (goesOn !== undefined) this.going.push(goesOn);
  }

  protected async openOnce(host: Host<Spec>, spec: Spec): Promise<void> {
    host.open(spec);
    await host.opening();
    await Promise.all(host.opened.map((one) => one.close()));
    await host.close();
  }

  #begin(): Promise<void> {
    this.#begun ??= this.begin(createChance(this.#setting));
    return this.#begun;
  }

  async #openAndWait(host: Host<Spec>, chance: Chance): Promise<void> {
    host.open(this.choose(chance));
    await Promise.race([host.opening(), realSleep(1_500)]);
  }

  async #openAndAbort(host: Host<Spec>, chance: Chance): Promise<void> {
    host.open(this.choose(chance));
    await realSleep(chance.below(20));
    host.abortAll();
  }
}
