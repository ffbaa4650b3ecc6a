import { randomBytes } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Order } from './host.ts';
import { HostProcess } from './host-process.ts';
import { createDockerPart } from './parts/docker.ts';
import { createInsidePart, insideId } from './parts/inside.ts';
import { ClusterPlace, createJobPart, createServicePart } from './parts/kubernetes.ts';
import { createLocalPart } from './parts/local.ts';
import { type Part, pick, type Scene } from './parts/part.ts';
import { createRemotePart } from './parts/remote.ts';
import { Children, describeProcess, livingWithTag } from './processes.ts';
import { Tally } from './tally.ts';

export const runtimes = ['local-process', 'remote-sse', 'in-process', 'docker', 'k8s-job', 'k8s-service'] as const;
export type RuntimeName = (typeof runtimes)[number];

export interface ChaosOptions {
  readonly minutes: number;
  readonly runtimes: readonly RuntimeName[];
  readonly random: () => number;
  /** How long an answer may take: longer than a start and a request together. */
  readonly longestMs: number;
  readonly library?: string | undefined;
}

export interface Outcome {
  readonly tally: Tally;
  /** How often each fault came about, and each end of a host. */
  readonly faults: Readonly<Record<string, number>>;
  /** What was left, by kind. */
  readonly left: Readonly<Record<string, readonly string[]>>;
  /** Tokens that servers executed more than once. */
  readonly executedTwice: readonly string[];
  readonly executed: number;
  /** Tokens that servers executed although their callers had been told that no server had seen them. */
  readonly executedUndelivered: readonly string[];
}

const hostsAtOnce = 2;
/** A run that is shorter leaves no time for the sweep of Leases: there the last host is in a hurry. */
const longMinutes = 3;
const hurry = 5;
/** What must not take less time in a hurry. */
const patient = { start_timeout: '10m', request_timeout: '10m' };
const recoveryMs = 120_000;
/** So many that what a careless library does with one answer in ten is among them, on the few connections of a host. */
const answersOfRecovered = 20;
const leaseMs = 180_000;
const leftMs = 180_000;
// A guardian gives servers five seconds.
const processMs = 20_000;

/** Runs hosts, lets everything go wrong that can, and counts. */
export class Supervisor {
  readonly #options: ChaosOptions;
  readonly #tally = new Tally();
  readonly #faults: Record<string, number> = {};
  readonly #children = new Children();
  readonly #hosts = new Set<HostProcess>();
  #parts: Part[] = [];
  #folder = '';
  #scene: Scene = { tag: '', logFolder: '' };
  #hostCount = 0;
  #isOver = false;

  constructor(options: ChaosOptions) {
    this.#options = options;
  }

  async run(): Promise<Outcome> {
    this.#folder = await mkdtemp(join(tmpdir(), 'chaos-'));
    try {
      await this.#prepare();
      const { minutes, random } = this.#options;
      const endsAt = Date.now() + minutes * 60_000;
      const lives = Array.from({ length: hostsAtOnce }, () => this.#live(endsAt));
      const watch = setInterval(() => this.#children.note(new Set([...this.#hosts].map(({ pid }) => pid))), 200);
      while (Date.now() < endsAt) {
        await sleep(200 + random() * 1_000);
        this.#doSomething();
      }
      await Promise.all(lives);
      await this.#untilRecovered();
      await this.#closeAll();
      await this.#untilSwept();
      clearInterval(watch);
      const left = await this.#untilNothingLeft();
      await this.#endParts();
      return {
        tally: this.#tally,
        faults: this.#faults,
        left: { ...left, ...(await this.#leftHere()) },
        ...(await this.#executed()),
      };
    } finally {
      for (const host of this.#hosts) await host.kill('at once');
      await this.#endParts();
      await rm(this.#folder, { recursive: true, force: true });
    }
  }

  async #prepare(): Promise<void> {
    const [logFolder, temporary] = [join(this.#folder, 'log'), join(this.#folder, 'tmp')];
    await mkdir(temporary);
    await mkdir(logFolder);
    // Servers of every user write there.
    for (const path of [this.#folder, logFolder]) await chmod(path, 0o777);
    this.#scene = { tag: randomBytes(6).toString('hex'), logFolder };
    const scene = this.#scene;
    let place: ClusterPlace | undefined;
    const cluster = async () => {
      place ??= await ClusterPlace.create(this.#folder);
      return place;
    };
    const makers: Record<RuntimeName, () => Promise<Part>> = {
      'local-process': () => createLocalPart(scene),
      'remote-sse': () => createRemotePart(scene),
      'in-process': () => createInsidePart(() => this.#tellAll('end inside')),
      docker: () => createDockerPart(scene),
      'k8s-job': async () => createJobPart(scene, await cluster()),
      'k8s-service': async () => createServicePart(scene, await cluster()),
    };
    for (const runtime of this.#options.runtimes) this.#parts.push(await makers[runtime]());
  }

  /** Hosts one after the other, each of which ends in one way or another. */
  async #live(endsAt: number): Promise<void> {
    const { random, minutes } = this.#options;
    const longestMs = Math.min(40_000, minutes * 20_000);
    for (;;) {
      const host = await this.#startHost();
      const endsHost = Date.now() + longestMs * (0.2 + 0.8 * random());
      await sleep(Math.max(0, Math.min(endsHost, endsAt) - Date.now()));
      // The last ones show that everything recovers.
      if (Date.now() >= endsAt) return;
      const way = pick(random, ['host killed', 'host killed', 'host killed when quiet', 'host closed']) ?? '';
      this.#count(way);
      if (way === 'host closed') await host.close();
      else await host.kill(way === 'host killed' ? 'at once' : 'when quiet');
      this.#hosts.delete(host);
    }
  }

  async #startHost(more: { readonly hurry?: number; readonly only?: readonly string[] } = {}): Promise<HostProcess> {
    const parts = this.#parts.filter(({ runtime }) => more.only?.includes(runtime) ?? true);
    this.#hostCount += 1;
    const settings = {
      name: `h${this.#hostCount}`,
      servers: parts.flatMap(({ servers }) => servers.map((server) => ({ ...server, ...(more.hurry && patient) }))),
      inside: parts.some(({ runtime }) => runtime === 'in-process') ? insideId : undefined,
      logFolder: this.#scene.logFolder,
      longestMs: this.#options.longestMs,
      hurry: more.hurry ?? 1,
      library: this.#options.library,
    };
    const env = Object.assign({ TMPDIR: join(this.#folder, 'tmp') }, ...parts.map((part) => part.env));
    const host = new HostProcess(settings, env, this.#tally);
    this.#hosts.add(host);
    await host.begin();
    return host;
  }

  #doSomething(): void {
    const { random } = this.#options;
    // Each runtime as often as the others.
    const { faults = {}, runtime } = pick(random, this.#parts) ?? {};
    const [name, happen] = pick(random, Object.entries(faults)) ?? [];
    if (name === undefined || happen === undefined) return;
    this.#count(name);
    Promise.resolve(happen(random)).catch((error: unknown) => {
      if (!this.#isOver) this.#tally.problem(`${runtime}: ${name}: ${String(error)}`);
    });
  }

  #tellAll(order: Order): void {
    for (const host of this.#hosts) host.tell(order);
  }

  #count(what: string): void {
    this.#faults[what] = (this.#faults[what] ?? 0) + 1;
  }

  /** When nothing goes wrong any more, every entry of every host has to work. */
  async #untilRecovered(): Promise<void> {
    const ids = this.#parts.flatMap(({ servers, runtime }) =>
      runtime === 'in-process' ? [insideId] : servers.map(({ id }) => id),
    );
    const waiting = [...this.#hosts].flatMap((host) => ids.map((id) => ({ host, id, before: host.answered[id] ?? 0 })));
    const works = ({ host, id, before }: (typeof waiting)[number]) =>
      (host.answered[id] ?? 0) >= before + answersOfRecovered;
    const end = Date.now() + recoveryMs;
    while (!waiting.every(works) && Date.now() < end) await sleep(100);
    for (const one of waiting) {
      if (!works(one))
        this.#tally.problem(`${one.id} does not work in ${one.host.name} after ${recoveryMs} ms of peace`);
    }
  }

  async #closeAll(): Promise<void> {
    await Promise.all(
      [...this.#hosts].map(async (host) => {
        await host.close();
        this.#hosts.delete(host);
      }),
    );
  }

  /** What killed hosts could not take away themselves is the business of the next one. */
  async #untilSwept(): Promise<void> {
    const only = ['docker', 'k8s-job'].filter((name) => this.#parts.some(({ runtime }) => runtime === name));
    if (only.length === 0) return;
    const host = await this.#startHost({ only, hurry: this.#options.minutes < longMinutes ? hurry : 1 });
    const ids = this.#parts
      .filter(({ runtime }) => only.includes(runtime))
      .flatMap(({ servers }) => servers.map(({ id }) => id));
    const isSwept = async () => {
      if (!ids.every((id) => (host.answered[id] ?? 0) > 0)) return false;
      const { Leases = [] } = await this.#left();
      return Leases.length <= 1;
    };
    for (const end = Date.now() + leaseMs; host.lives && !(await isSwept()) && Date.now() < end; ) await sleep(500);
    await this.#closeAll();
  }

  async #untilNothingLeft(): Promise<Record<string, readonly string[]>> {
    const end = Date.now() + leftMs;
    for (;;) {
      const left = await this.#left();
      if (Object.values(left).every(({ length }) => length === 0) || Date.now() > end) return left;
      await sleep(250);
    }
  }

  async #left(): Promise<Record<string, readonly string[]>> {
    const all: Record<string, string[]> = {};
    for (const part of this.#parts) {
      for (const [kind, names] of Object.entries(await part.left())) all[kind] = [...(all[kind] ?? []), ...names];
    }
    return all;
  }

  async #endParts(): Promise<void> {
    this.#isOver = true;
    for (const part of this.#parts.splice(0)) await part[Symbol.asyncDispose]();
  }

  /** What this machine shows: the servers of the parts have ended by now. */
  async #leftHere(): Promise<Record<string, readonly string[]>> {
    const living = () => [...new Set([...livingWithTag(this.#scene.tag), ...this.#children.living()])];
    for (const end = Date.now() + processMs; living().length > 0 && Date.now() < end; ) await sleep(100);
    const processes = living();
    const described = processes.map(describeProcess);
    for (const pid of processes) process.kill(pid, 'SIGKILL');
    return { processes: described, 'temporary files': await readdir(join(this.#folder, 'tmp')) };
  }

  async #executed(): Promise<Pick<Outcome, 'executed' | 'executedTwice' | 'executedUndelivered'>> {
    const seen = new Set<string>();
    const twice: string[] = [];
    for (const file of await readdir(this.#scene.logFolder)) {
      const lines = (await readFile(join(this.#scene.logFolder, file), 'utf8')).split('\n');
      for (const token of lines.filter((line) => line !== '')) {
        if (seen.has(token)) twice.push(`${token} in ${file}`);
        seen.add(token);
      }
    }
    const executedUndelivered = this.#tally.report().undelivered.filter((token) => seen.has(token));
    return { executed: seen.size, executedTwice: twice, executedUndelivered };
  }
}
