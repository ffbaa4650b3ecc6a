import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { fromDockerMcp } from '../../docs/examples/from-docker-mcp.js';
import { createGateway, parseCatalog } from '../../src/index.js';

const read = (name: string) =>
  readFileSync(new URL(`../../docs/examples/convert/${name}.yaml`, import.meta.url), 'utf8');

test('the catalog on the page of migration is what the function on it makes of theirs', async () => {
  const { registry } = parse(read('docker-mcp'));
  const servers = Object.keys(registry).map((id) => fromDockerMcp(id, registry[id]));
  expect({ servers }).toEqual(await parseCatalog(read('from-docker-mcp')));
});

test('a gateway takes it, and gets the values of their config.yaml and secrets from variables', async () => {
  const env = {
    NOTES_MODE: 'read',
    NOTES_API_KEY: 'k3y-value',
    NOTES_FOLDER: '/srv/notes',
    ISSUES_TOKEN: 't0ken-value',
  };
  const catalog = await parseCatalog(read('from-docker-mcp'));
  expect(() => createGateway(catalog, { env: {} })).toThrow(/NOTES_MODE[\s\S]*ISSUES_TOKEN/);
  await using gateway = createGateway(catalog, { env });
  expect(gateway.status().map(({ id, type }) => [id, type])).toEqual([
    ['notes', 'docker'],
    ['issues', 'remote-sse'],
  ]);
  expect(JSON.stringify(gateway.describe('notes'))).toContain('none');
});

test('a server with an address of the older kind is one over HTTP+SSE', () => {
  expect(fromDockerMcp('git', { sseEndpoint: 'https://git.example.com/sse' }).runtime).toEqual({
    type: 'remote-sse',
    url: 'https://git.example.com/sse',
    transport: 'sse',
  });
});

test('what has no counterpart is an error that names it', () => {
  expect(() => fromDockerMcp('curl', { type: 'poci' })).toThrow('curl: a server of type poci is neither');
  expect(() => fromDockerMcp('files', { image: 'files', volumes: ['{{files.paths|volume|into}}'] })).toThrow(
    '{{files.paths|volume|into}} makes several values of one',
  );
});
