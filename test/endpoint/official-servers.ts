import { mkdir, mkdtemp, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createTag, tagVariable } from '../support/processes.js';

const program = (name: string) =>
  join(
    dirname(fileURLToPath(import.meta.resolve(`@modelcontextprotocol/server-${name}/package.json`))),
    'dist/index.js',
  );

export const officialIds = ['everything', 'filesystem', 'memory', 'thinking'] as const;
export type OfficialId = (typeof officialIds)[number];

/** The servers of the protocol's own repository, ready for a catalog, with files of their own. */
export interface OfficialServers extends AsyncDisposable {
  /** What all their processes have in their environment. */
  readonly tag: string;
  /** The folder that `filesystem` may use by its arguments; it holds `hello.txt`. */
  readonly folder: string;
  /** A folder that it may use only when a caller names it as a root; it holds `root.txt`. */
  readonly rootFolder: string;
  /** In the order of {@link officialIds}. */
  readonly entries: readonly {
    readonly id: OfficialId;
    readonly env: Record<string, string>;
    readonly start_timeout: string;
    readonly list_timeout: string;
    readonly runtime: { readonly type: 'local-process'; readonly command: string; readonly args: string[] };
  }[];
}

export async function createOfficialServers(): Promise<OfficialServers> {
  const tag = createTag();
  const base = await realpath(await mkdtemp(join(tmpdir(), 'official-servers-')));
  const folder = join(base, 'folder');
  const rootFolder = join(base, 'root');
  await mkdir(folder);
  await mkdir(rootFolder);
  await writeFile(join(folder, 'hello.txt'), 'hello from a file');
  await writeFile(join(rootFolder, 'root.txt'), 'hello from a root');
  const args: Record<OfficialId, string[]> = {
    everything: [program('everything'), 'stdio'],
    filesystem: [program('filesystem'), folder],
    memory: [program('memory')],
    thinking: [program('sequential-thinking')],
  };
  return {
    tag,
    folder,
    rootFolder,
    entries: officialIds.map((id) => ({
      id,
      env: { [tagVariable]: tag, MEMORY_FILE_PATH: join(base, 'memory.jsonl') },
      // Four servers start at once, on a machine that may be busy.
      start_timeout: '60s',
      list_timeout: '60s',
      runtime: { type: 'local-process', command: process.execPath, args: args[id] },
    })),
    async [Symbol.asyncDispose]() {
      await rm(base, { recursive: true, force: true });
    },
  };
}
