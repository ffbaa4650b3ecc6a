// What a watch asks for on Windows, where the file watcher writes paths with other slashes than Node does.
import { EventEmitter } from 'node:events';
import { expect, test, vi } from 'vitest';
import { createGateway, watchCatalog } from '../../src/index.js';

vi.mock('node:path', async (load) => {
  const { win32 } = await load<typeof import('node:path')>();
  return { ...win32, default: win32 };
});

interface Asked {
  readonly paths: readonly string[];
  readonly options: { ignored(path: string): boolean };
}
const asked = vi.hoisted(() => [] as unknown[]) as Asked[];
vi.mock('chokidar', () => ({
  watch: (paths: Asked['paths'], options: Asked['options']) => {
    asked.push({ paths, options });
    const watcher = Object.assign(new EventEmitter(), { close: async () => {} });
    setImmediate(() => watcher.emit('ready'));
    return watcher;
  },
}));

test.each([
  ['C:\\catalogs\\mine.yaml', 'C:/catalogs'],
  ['C:\\mine.yaml', 'C:/'],
  ['\\\\server\\share\\catalogs\\mine.yaml', '//server/share/catalogs'],
])('a catalog on Windows is watched: %s', async (file, folder) => {
  await using gateway = createGateway({ servers: [] });
  await using watcher = watchCatalog(file, gateway);
  await watcher.ready;
  const { paths, options } = asked.pop() as Asked;
  expect(paths).toContain(file);
  // It asks about each path with slashes.
  const within = folder.endsWith('/') ? folder : `${folder}/`;
  expect(options.ignored(folder)).toBe(false);
  expect(options.ignored(`${within}mine.yaml`)).toBe(false);
  expect(options.ignored(`${within}..data`)).toBe(false);
  expect(options.ignored(`${within}other.yaml`)).toBe(true);
  expect(options.ignored(`${within}more/mine.yaml`)).toBe(true);
});
