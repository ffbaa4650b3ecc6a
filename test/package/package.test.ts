import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPackedProject, dependenciesOf, type PackedProject } from './packed-project.js';

const entries = ['open-mcp-gateway', 'open-mcp-gateway/testing'];

let project: PackedProject;
let installed: string;

beforeAll(() => {
  project = createPackedProject();
  installed = join(project.folder, 'node_modules/open-mcp-gateway');
});

afterAll(() => project?.[Symbol.dispose]());

const run: PackedProject['run'] = (...args) => project.run(...args);

function readJson(file: string): unknown {
  return JSON.parse(readFileSync(file, 'utf8'));
}

describe('the tarball', () => {
  test('holds the build, the schema of catalogs and the papers, and no sources or tests', () => {
    const files = readdirSync(installed, { recursive: true, encoding: 'utf8' });
    expect(files.filter((name) => !name.startsWith('dist/')).sort()).toEqual([
      'CHANGELOG.md',
      'LICENSE',
      'README.md',
      'SECURITY.md',
      'dist',
      'docs',
      'docs/catalog.schema.json',
      'package.json',
    ]);
    expect(files.filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))).toEqual([]);
  });

  test('has no dependency at an address', () => {
    const { dependencies } = readJson(join(installed, 'package.json')) as { dependencies: Record<string, string> };
    expect(Object.values(dependencies).filter((range) => /[:/]/.test(range))).toEqual([]);
  });
});

describe('the tarball and all that comes with it', () => {
  type Manifest = { name: string; license?: string; scripts?: Record<string, string> };
  const manifests = () =>
    [installed, ...dependenciesOf(installed)].map((folder) => readJson(join(folder, 'package.json')) as Manifest);

  test('run nothing when they are installed', () => {
    // npm runs node-gyp for a package that has such a file, without any script.
    const native = [installed, ...dependenciesOf(installed)].filter((folder) =>
      existsSync(join(folder, 'binding.gyp')),
    );
    const hooks = ['preinstall', 'install', 'postinstall', 'prepublish', 'preprepare', 'prepare', 'postprepare'];
    // What is published is not prepared again: that is for packages that come from git.
    const ofRegistry = hooks.slice(0, 3);
    const [own, ...others] = manifests();
    expect(native).toEqual([]);
    expect(hooks.filter((name) => name in (own?.scripts ?? {}))).toEqual([]);
    expect(others.filter(({ scripts = {} }) => ofRegistry.some((name) => name in scripts))).toEqual([]);
  });

  test('have licences that allow any use', () => {
    const unclear = manifests().filter(
      ({ license = '' }) => !['MIT', 'ISC', 'BSD-3-Clause', 'Apache-2.0'].includes(license),
    );
    expect(manifests().length).toBeGreaterThan(8);
    expect(unclear.map(({ name, license }) => `${name}: ${license}`)).toEqual([]);
  });
});

describe.each(entries)('%s', (entry) => {
  const report =
    'process.stdout.write(JSON.stringify(Object.keys(entry).filter((name) => name !== "default").sort()));';

  test('has the same exports for import and require', () => {
    const imported = run('mjs', `import * as entry from '${entry}';\n${report}`);
    const required = run('cjs', `const entry = require('${entry}');\n${report}`);
    expect(JSON.parse(imported)).not.toEqual([]);
    expect(JSON.parse(required)).toEqual(JSON.parse(imported));
  });

  test.each(['import', 'require'])('prints nothing, installs nothing and keeps nothing alive on %s', (how) => {
    const load = how === 'import' ? `await import('${entry}')` : `createRequire(import.meta.url)('${entry}')`;
    const program = `
      import { createRequire } from 'node:module';
      const look = () => JSON.stringify({
        handlers: process.eventNames().map((name) => [String(name), process.listenerCount(name)]),
        globals: Object.getOwnPropertyNames(globalThis).sort(),
        resources: process.getActiveResourcesInfo(),
        env: process.env,
      });
      // Node makes its streams when something asks for them, as node:assert does; they are no doing of ours.
      void [process.stdout, process.stderr];
      const before = look();
      ${load};
      if (look() !== before) throw new Error('changed: ' + before + ' → ' + look());
    `;
    expect(run('mjs', program)).toBe('');
  });
});

describe('both formats in one process', () => {
  test.each([
    ['ESM', 'CJS', 'esm', 'cjs'],
    ['CJS', 'ESM', 'cjs', 'esm'],
  ])('%s errors are recognised by %s', (_maker, _judge, maker, judge) => {
    const program = `
      import { createRequire } from 'node:module';
      import * as esm from 'open-mcp-gateway';
      const cjs = createRequire(import.meta.url)('open-mcp-gateway');
      const error = new ${maker}.GatewayError('START_FAILED', 'no');
      console.log(esm.GatewayError !== cjs.GatewayError, ${judge}.GatewayError.is(error), error instanceof ${judge}.GatewayError);
    `;
    expect(run('mjs', program)).toBe('true true false');
  });
});

// So does Jest run CommonJS, and what is made of a snapshot.
test('CommonJS starts servers, reaches them and reads YAML where there is no import()', () => {
  const output = run(
    'cjs',
    `
    const { Module, createRequire } = require('node:module');
    const { dirname } = require('node:path');
    const { Script } = require('node:vm');
    Module.prototype._compile = function (code, filename) {
      const wrapped = '(function (exports, require, module, __filename, __dirname) {' + code + '\\n})';
      const load = new Script(wrapped, { filename }).runInThisContext();
      load.call(this.exports, this.exports, createRequire(filename), this, filename, dirname(filename));
    };
    const { createGateway, parseCatalog, DockerRuntime } = require('open-mcp-gateway');
    const command = process.execPath;
    const servers = [
      { id: 'child', runtime: { type: 'local-process', command, args: ['-e', 'process.stdin.resume()'] } },
      { id: 'url', runtime: { type: 'remote-sse', url: 'http://127.0.0.1:9/mcp' } },
      { id: 'container', runtime: { type: 'docker', image: 'x' } },
    ];
    const env = { DOCKER_HOST: 'unix:///nowhere/docker.sock' };
    const gateway = createGateway({ servers }, { runtimes: [new DockerRuntime({ env })] });
    (async () => {
      console.log((await parseCatalog('servers: []')).servers.length);
      for (const { id } of servers) {
        const words = await gateway.connect(id).start().then(() => 'started', ({ message }) => message);
        console.log(words.slice(0, 40));
      }
      await gateway.close();
    })();
  `,
  );
  expect(output.split('\n')).toEqual([
    '0',
    'started',
    '"url": could not connect to http://127.0',
    '"container": no container engine answers',
  ]);
});

describe('nothing else is importable', () => {
  test.each([
    'open-mcp-gateway/package.json',
    'open-mcp-gateway/dist/index.js',
    'open-mcp-gateway/dist/testing.cjs',
    'open-mcp-gateway/runtimes/local-process',
    'open-mcp-gateway/index',
  ])('%s', (path) => {
    const program = `
      import { createRequire } from 'node:module';
      const code = (error) => error.code;
      console.log(await import('${path}').catch(code));
      try { createRequire(import.meta.url)('${path}'); } catch (error) { console.log(code(error)); }
    `;
    expect(run('mjs', program)).toBe('ERR_PACKAGE_PATH_NOT_EXPORTED\nERR_PACKAGE_PATH_NOT_EXPORTED');
  });
});

test.each(['mjs', 'cjs'] as const)(
  'without @kubernetes/client-node the error says what to install (%s)',
  (extension) => {
    using bare = createPackedProject();
    rmSync(join(bare.folder, 'node_modules/@kubernetes/client-node'));
    const load =
      extension === 'mjs'
        ? `import { createGateway } from 'open-mcp-gateway';`
        : `const { createGateway } = require('open-mcp-gateway');`;
    const program = `
    ${load}
    const runtimes = [
      { type: 'k8s-job', namespace: 'a', image: 'b' },
      { type: 'k8s-service', namespace: 'a', service_name: 'b', port: 80 },
    ];
    const gateway = createGateway({ servers: runtimes.map((runtime) => ({ id: runtime.type, runtime })) });
    const said = runtimes.map(({ type }) => gateway.connect(type).start().catch(({ code, message }) => code + ' ' + message));
    Promise.all([...said, gateway.check().then((checks) => checks.map(({ ok, problems }) => ok + ' ' + problems).join('\\n'))])
      .then((lines) => console.log(lines.join('\\n')))
      .finally(() => gateway.close());
  `;
    const remedy =
      'the Kubernetes runtimes need the package @kubernetes/client-node; install it: npm install @kubernetes/client-node';
    expect(bare.run(extension, program).split('\n')).toEqual([
      `START_FAILED "k8s-job": ${remedy}`,
      `START_FAILED "k8s-service": ${remedy}`,
      `false ${remedy}`,
      `false ${remedy}`,
    ]);
  },
);

describe('what is loaded', () => {
  // Prints the packages whose modules were loaded, by import or by require, with the parts of this package that are loaded
  // on demand, and the public modules of Node.
  const watch = `
    import { builtinModules, registerHooks } from 'node:module';
    const packages = new Set();
    const before = new Set(process.moduleLoadList);
    registerHooks({
      load(url, context, next) {
        const found = /.*\\/node_modules\\/((?:@[^/]+\\/)?[^/]+)\\//.exec(url);
        if (found) packages.add(found[1]);
        const part = /open-mcp-gateway\\/dist\\/(\\w+(?:-\\w+)*-servers)-/.exec(url);
        if (part) packages.add('./' + part[1]);
        return next(url, context);
      },
    });
    process.on('exit', () => {
      const loaded = process.moduleLoadList.filter((name) => !before.has(name)).map((name) => name.split(' ').at(-1));
      const ofNode = loaded.filter((name) => builtinModules.includes(name)).map((name) => 'node:' + name);
      console.log([...packages, ...ofNode].sort().join(' '));
    });
  `;
  const heavy = [
    ...[
      'yaml',
      'ky',
      'undici',
      'ws',
      'chokidar',
      'cross-spawn',
      '@kubernetes/client-node',
      '@modelcontextprotocol/sdk',
    ],
    // Most of them come with node:http.
    ...['node:http', 'node:https', 'node:http2', 'node:tls', 'node:zlib', 'node:worker_threads', 'node:perf_hooks'],
  ];

  function packagesOf(program: string, extension: 'mjs' | 'cjs' = 'mjs'): string[] {
    const file = join(project.folder, 'watch.mjs');
    writeFileSync(file, watch);
    return run(extension, program, '--import', `file://${file}`).split(' ');
  }

  test.each(['import', 'require'] as const)('the entry alone loads nothing heavy on %s', (how) => {
    const packages =
      how === 'import' ? packagesOf(`import 'open-mcp-gateway';`) : packagesOf(`require('open-mcp-gateway');`, 'cjs');
    expect(packages).toEqual(expect.arrayContaining(['open-mcp-gateway', 'valibot', 'node:crypto']));
    expect(packages.filter((name) => heavy.includes(name))).toEqual([]);
    expect(packages.filter((name) => name.startsWith('./'))).toEqual([]);
  });

  const namespace = 'x';
  test.each([
    [{ type: 'remote-sse', url: 'http://127.0.0.1:9' }, ['undici', 'node:tls']],
    [{ type: 'docker', image: 'x' }, ['node:http']],
    [{ type: 'k8s-job', namespace, image: 'x' }, ['@kubernetes/client-node']],
    [{ type: 'k8s-service', namespace, service_name: 'x', port: 80 }, ['@kubernetes/client-node']],
  ])('a server of another kind than a child process loads what it needs, and no other part: %o', (runtime, needed) => {
    const packages = packagesOf(`
      import { createGateway } from 'open-mcp-gateway';
      await using gateway = createGateway({ servers: [{ id: 'a', runtime: ${JSON.stringify(runtime)} }] });
      await gateway.check();
    `);
    expect(packages).toEqual(expect.arrayContaining(needed));
    expect(packages.filter((name) => name.startsWith('./'))).toEqual([`./${runtime.type}-servers`]);
  });

  test.each(['import', 'require'] as const)('a catalog in YAML loads the parser on %s', (how) => {
    const use = `parseCatalog('servers: []').then((catalog) => { if (catalog.servers.length !== 0) process.exitCode = 1; });`;
    const packages =
      how === 'import'
        ? packagesOf(`import { parseCatalog } from 'open-mcp-gateway';\n${use}`)
        : packagesOf(`const { parseCatalog } = require('open-mcp-gateway');\n${use}`, 'cjs');
    expect(packages).toContain('yaml');
  });
});
