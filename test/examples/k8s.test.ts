import { expect, test } from 'vitest';
import { baseImage, describeWithKubernetes } from '../support/real-parts.js';
import { runExample } from './run-example.js';

describeWithKubernetes('the example of one server in four places', () => {
  test('calls each, and takes all away', async () => {
    process.env.IMAGE = baseImage;
    try {
      const { code, stdout, stderr } = await runExample('k8s/main.ts');
      expect(code, stderr).toBe(0);
      const [checks = '', calls = '', role = ''] = stdout.trim().split('\n\n');
      expect(checks.split('\n')).toEqual(
        ['process', 'container', 'job', 'service'].map((server) => `${server}: can be used`),
      );
      const lines = calls.split('\n');
      expect(lines.map((line) => line.split(',', 1)[0])).toEqual(['process', 'container', 'job', 'service', 'service']);
      for (const line of lines) expect(line).toMatch(/: process \d+ on \S+, call 1 of this session$/);
      expect(role).toContain('pods/portforward (get, create)');
    } finally {
      delete process.env.IMAGE;
    }
  }, 300_000);
});
