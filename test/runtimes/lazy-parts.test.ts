import { expect, test, vi } from 'vitest';
import { createGateway, loadCatalog } from '../../src/index.js';

// What Node says of a file of a package while the host has no descriptor left: the next import() of it works.
const failures = vi.hoisted(() => new Set(['cross-spawn', 'ky', 'undici']));
const failOnce = vi.hoisted(() => <Part>(name: string, load: () => Promise<Part>): Promise<Part> => {
  return failures.delete(name) ? Promise.reject(new Error('too many open files')) : load();
});
vi.mock(import('cross-spawn'), (load) => failOnce('cross-spawn', load));
vi.mock(import('ky'), (load) => failOnce('ky', load));
vi.mock(import('undici'), (load) => failOnce('undici', load));

// Nobody listens there.
const url = 'http://127.0.0.1:9/catalog.json';

test('a package that could not be loaded is loaded by the next who needs it', async () => {
  await using gateway = createGateway({
    servers: [
      { id: 'local', runtime: { type: 'local-process', command: 'cat' } },
      { id: 'remote', runtime: { type: 'remote-sse', url } },
    ],
  });
  await expect(gateway.connect('local').start()).rejects.toMatchObject({ code: 'START_FAILED', server: 'local' });
  await gateway.connect('local').start();

  await expect(gateway.connect('remote').start()).rejects.toMatchObject({ code: 'START_FAILED', server: 'remote' });
  await expect(gateway.connect('remote').start()).rejects.toThrow('nobody listens');

  await expect(loadCatalog(new URL(url))).rejects.toThrow(/error when mocking a module/);
  await expect(loadCatalog(new URL(url))).rejects.toMatchObject({ code: 'CATALOG_INVALID' });
  expect(failures).toEqual(new Set());
});
