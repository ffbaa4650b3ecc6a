import { once } from 'node:events';
import { access, mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { createContext, Script } from 'node:vm';
import { build } from 'esbuild';
import { beforeAll, expect, test } from 'vitest';
import type * as Library from '../../src/index.js';
import { freePort } from '../support/free-port.js';

/** The code of the library as one CommonJS module. */
let code: Script;

beforeAll(async () => {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../../src/index.ts', import.meta.url))],
    bundle: true,
    write: false,
    format: 'cjs',
    platform: 'node',
    target: 'node22.19',
    external: ['@kubernetes/client-node'],
    logLevel: 'silent',
  });
  code = new Script(`(require, module, exports) => { ${outputFiles[0]?.text}\n}`);
});

/** The library in a context of its own, as each test file has it under Jest: Node's errors are of no class that it knows. */
function inAnotherRealm(changes: Readonly<Record<string, unknown>> = {}): typeof Library {
  const context = createContext({});
  const own = new Script('Object.getOwnPropertyNames(globalThis)').runInContext(context) as string[];
  for (const [name, property] of Object.entries(Object.getOwnPropertyDescriptors(globalThis))) {
    if (!own.includes(name)) Object.defineProperty(context, name, property);
  }
  Object.assign(context, changes);
  const module = { exports: {} };
  code.runInContext(context)(createRequire(import.meta.url), module, module.exports);
  return module.exports as typeof Library;
}

/** What a host may have put in the place of `Promise`, as zone.js does: what an async function returns is none. */
class OwnPromise<T> extends Promise<T> {}

test('an error of Node is known in another realm: a catalog that is not there', async () => {
  const { loadCatalog, GatewayError } = inAnotherRealm();
  const folder = await mkdtemp(join(tmpdir(), 'omg-realm-'));
  const error: unknown = await loadCatalog(join(folder, 'none.yaml')).catch((error: unknown) => error);
  await rm(folder, { recursive: true });
  expect(GatewayError.is(error) && error.issues?.map(({ message }) => message)).toEqual([
    'cannot be read: there is no such file',
  ]);
});

test('an error of Node is known in another realm: a URL of a catalog that is none, of which nothing shows', async () => {
  const { loadCatalog } = inAnotherRealm();
  const error: unknown = await loadCatalog('http://me:canary@:').catch((error: unknown) => error);
  expect(error).toMatchObject({ code: 'CATALOG_INVALID', message: expect.not.stringContaining('canary') });
});

test('an error of Node is known in another realm: a port that nobody listens at', async () => {
  const { createGateway } = inAnotherRealm();
  const port = await freePort();
  const gateway = createGateway({
    servers: [{ id: 'a', runtime: { type: 'remote-sse', url: `http://localhost:${port}/mcp` } }],
  });
  const told = new RegExp(`nobody listens at localhost:${port}`);
  expect(await gateway.check()).toMatchObject([{ ok: false, problems: [expect.stringMatching(told)] }]);
  await expect(gateway.connect('a').start()).rejects.toThrow(told);
  await gateway.close();
});

test('an error of Node is known in another realm: what the function of a server throws, told without secrets', async () => {
  const { createGateway } = inAnotherRealm();
  const server = () => access('/canary-of-a-path/none') as never;
  const gateway = createGateway(
    { servers: [{ id: 'a', runtime: { type: 'in-process', server }, env: { PATH_TO: '${CANARY}' } }] },
    { env: { CANARY: 'canary-of-a-path' } },
  );
  const error: unknown = await gateway
    .connect('a')
    .start()
    .catch((error: unknown) => error);
  expect(error).toMatchObject({
    code: 'START_FAILED',
    message: expect.stringMatching(/ENOENT: .*access '\/\$\{CANARY\}\/none'$/),
    cause: { name: 'Error', message: expect.stringMatching(/^ENOENT: /) },
  });
  await gateway.close();
});

test('an error of Node is known in another realm: what the function of a server waited too long for', async () => {
  const { createGateway } = inAnotherRealm();
  const server = () => Promise.reject(new DOMException('the time was up', 'TimeoutError')) as never;
  const gateway = createGateway({ servers: [{ id: 'a', runtime: { type: 'in-process', server } }] });
  await expect(gateway.connect('a').start()).rejects.toThrow('the server function failed: the time was up');
  await gateway.close();
});

test('an error of the library is known in another realm', async () => {
  const { GatewayError } = inAnotherRealm();
  const { GatewayError: Other } = inAnotherRealm();
  expect(GatewayError.is(new Other('GATEWAY_CLOSED', 'closed'))).toBe(true);
  expect(GatewayError.is({ ...new Other('GATEWAY_CLOSED', 'closed') })).toBe(false);
});

test('a promise of another class is waited for: the headers of a host', async () => {
  const { createGateway, RemoteSseRuntime } = inAnotherRealm({ Promise: OwnPromise });
  const server = createServer((_, response) => response.writeHead(403).end()).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const asked = once(server, 'request');
  const { port } = server.address() as { port: number };
  const gateway = createGateway(
    { servers: [{ id: 'a', runtime: { type: 'remote-sse', url: `http://127.0.0.1:${port}/mcp` } }] },
    { runtimes: [new RemoteSseRuntime({ headers: async () => ({ Authorization: 'Bearer of-the-host' }) })] },
  );
  const transport = gateway.connect('a');
  await transport.start();
  await transport.send({ jsonrpc: '2.0', id: 1, method: 'ping' });
  const [request] = await asked;
  expect(request.headers.authorization).toBe('Bearer of-the-host');
  await gateway.close();
  server.close();
});

test('a promise of another class is heard: what a listener rejects with ends nothing', async () => {
  const { createGateway } = inAnotherRealm({ Promise: OwnPromise });
  const unheard: unknown[] = [];
  const hear = (reason: unknown) => unheard.push(reason);
  process.on('unhandledRejection', hear);
  const server = () => ({ connect: async () => {}, close: async () => {} });
  let told = 0;
  const gateway = createGateway(
    { servers: [{ id: 'a', runtime: { type: 'in-process', server } }] },
    {
      onEvent: async () => {
        told += 1;
        throw new Error('of the listener');
      },
    },
  );
  await gateway.connect('a').start();
  await gateway.close();
  // Node tells of them when all that is due has been done.
  await new Promise((resolve) => setImmediate(resolve));
  process.off('unhandledRejection', hear);
  expect(told).toBeGreaterThan(0);
  expect(unheard).toEqual([]);
});
