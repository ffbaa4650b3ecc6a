import { describe, expect, test, vi } from 'vitest';
import { runExample } from './run-example.js';

describe('the examples of the README and the docs do what they show', () => {
  test.each([
    ['smallest-gateway.ts', "{ content: [ { type: 'text', text: 'Echo: hello' } ] }\n"],
    ['merged.ts', "[ 'everything', 'memory' ] everything__echo [ { type: 'text', text: 'Echo: hello' } ]\n"],
    [
      'catalogs.ts',
      "[ 'everything' ]\n[ 'postgres' ]\n[ 'everything', 'postgres' ]\n[ 'postgres-mcp', 'files-mcp' ]\n",
    ],
    ['eras.ts', "2026-07-28 [ { type: 'text', text: '2026' } ]\n"],
    ['watched-catalog.ts', "[ 'everything' ]\n"],
    ['user-tokens.ts', 'ada token-of-ada\nbob token-of-bob\n'],
    ['rotated-secrets.ts', '[{"type":"text","text":"the key is old"}]\n[{"type":"text","text":"the key is new"}]\n'],
    ['use-node-script-runtime.ts', 'true\n'],
  ])('%s', async (file, stdout) => {
    expect(await runExample(file)).toEqual({ code: 0, stdout, stderr: '' });
  });

  test('kubernetes/roles.ts', async () => {
    vi.stubEnv('CATALOG', 'docs/examples/kubernetes/catalog.yaml').stubEnv('DB_PASSWORD', 'hunter2');
    const { code, stdout } = await runExample('kubernetes/roles.ts');
    vi.unstubAllEnvs();
    const role = { kind: 'Role', metadata: { name: 'open-mcp-gateway', namespace: 'mcp-servers' } };
    expect([code, JSON.parse(stdout)]).toMatchObject([0, { apiVersion: 'v1', kind: 'List', items: [role] }]);
  });

  test('errors.ts', async () => {
    expect(await runExample('errors.ts')).toEqual({
      code: 0,
      stdout: '',
      stderr: expect.stringMatching(/^CATALOG_INVALID servers\[0\]\.runtime\.command \S/),
    });
  });

  test('convert.ts', async () => {
    expect(await runExample('convert.ts')).toEqual({
      code: 0,
      stdout: 'ready\n',
      stderr: 'mcpServers["My Tools"].autoApprove: a catalog has no place for it\n',
    });
  });

  test.each(['getting-started/clock.test.ts', 'node-script-runtime.test.ts', 'test-gateway.test.ts'])(
    '%s passes under node:test',
    async (file) => {
      const { code, stdout } = await runExample(file, '--test', '--test-reporter=tap');
      const count = (name: string) => Number(new RegExp(`^# ${name} (\\d+)$`, 'm').exec(stdout)?.[1]);
      expect({ code, failed: count('fail'), output: code === 0 ? '' : stdout }).toEqual({
        code: 0,
        failed: 0,
        output: '',
      });
      expect(count('pass')).toBeGreaterThan(0);
    },
  );
});
