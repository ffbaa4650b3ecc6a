import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createTag, tagVariable } from '../../support/processes.js';

const program = fileURLToPath(new URL('server.pl', import.meta.url));

/** What nobody may read but the server. */
export const secret = 'sEcReT-value-of-the-server';
/** Of one message, in bytes; `huge` is larger. */
export const mostBytes = 1_200 * 1024;

/** What one process has written down of itself. */
export class Life {
  readonly pid: number;
  /** The numbers of the calls that it has read. */
  readonly got: number[] = [];
  /** What it was about to say, and what it has handed over whole; the system may have killed it in between. */
  readonly says: string[] = [];
  readonly said: string[] = [];
  /** Whatever else it has noted, in order: `eof`, `shutout`, `words`, … */
  readonly deeds: string[] = [];
  /** Processes that it has started, with their kinds. */
  readonly children: [kind: string, pid: number][] = [];
  /** How it was about to end by itself. */
  exit: { readonly code?: number; readonly signal?: string } | undefined;
  readonly #saidWhen = new Map<string, number>();

  constructor(pid: number) {
    this.pid = pid;
  }

  /** It has said the answer, and later did that. */
  saidBefore(number: number, deed: string): boolean {
    const at = this.#saidWhen.get(String(number));
    return at !== undefined && (deed === 'exit' || at <= this.deeds.indexOf(deed));
  }

  note(what: string, more: readonly string[]): void {
    const text = more.join(' ');
    if (what === 'got') this.got.push(Number(text));
    else if (what === 'say') this.says.push(text);
    else if (what === 'said') {
      this.said.push(text);
      this.#saidWhen.set(text, this.deeds.length);
    } else if (what === 'fork') this.children.push([more[0] as string, Number(more[1])]);
    else if (what === 'exit') this.exit = { code: Number(text) };
    else if (what === 'die') this.exit = { signal: text };
    else this.deeds.push(text === '' ? what : `${what} ${text}`);
  }
}

/** A folder with the log of the servers of one schedule, and how to start one. */
export class Lives {
  readonly tag = createTag();
  readonly folder = mkdtempSync(join(tmpdir(), 'local-process-model-'));

  get env(): Record<string, string> {
    return { [tagVariable]: this.tag, SECRET: secret };
  }

  /** The command of a server. @param plans - of its processes, in turn */
  command(era: string, plans: readonly string[]): { command: string; args: string[] } {
    return { command: 'perl', args: [program, join(this.folder, 'log'), era, ...plans] };
  }

  read(): Map<number, Life> {
    const lives = new Map<number, Life>();
    for (const line of this.#text().split('\n').slice(0, -1)) {
      const [pid, what, ...more] = line.split(' ') as [string, string, ...string[]];
      let life = lives.get(Number(pid));
      if (life === undefined) {
        life = new Life(Number(pid));
        lives.set(life.pid, life);
      }
      life.note(what, more);
    }
    return lives;
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }

  #text(): string {
    try {
      return readFileSync(join(this.folder, 'log'), 'latin1');
    } catch {
      return '';
    }
  }
}
