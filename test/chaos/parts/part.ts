/** What is needed around the entries of one runtime: where their servers are, what can go wrong there, and what may be left. */
export interface Part extends AsyncDisposable {
  readonly runtime: string;
  /** Its entries, but for `in-process`, which no file could hold. */
  readonly servers: readonly ({ readonly id: string } & Readonly<Record<string, unknown>>)[];
  /** Variables of the host. */
  readonly env: Readonly<Record<string, string>>;
  /** What may go wrong, by name. Each resolves when it has happened; nobody may be there for it to happen to. */
  readonly faults: Readonly<Record<string, (random: () => number) => unknown>>;
  /** What is there that should not be, once all hosts are gone: names by kind. */
  left(): Promise<Readonly<Record<string, readonly string[]>>>;
}

/** What all parts are told. */
export interface Scene {
  /** A word that no other run has: in the environment of all processes, and in the ids of entries. */
  readonly tag: string;
  /** Where servers note what they have executed. */
  readonly logFolder: string;
}

/** In a hurry: a run of seconds is to hold many ends. */
export const patience = {
  request_timeout: '10s',
  start_timeout: '20s',
  idle_timeout: '3s',
  restart: { max: 100_000, backoff: '50ms', max_backoff: '200ms' },
};

export function pick<T>(random: () => number, all: readonly T[]): T | undefined {
  return all[Math.floor(random() * all.length)];
}
