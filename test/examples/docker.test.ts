import { expect, test } from 'vitest';
import { docker } from '../support/docker.js';
import { baseImage, describeWithDocker } from '../support/real-parts.js';
import { runExample } from './run-example.js';

describeWithDocker('the example of a server in a container', () => {
  test('builds the image, calls the server, and leaves no container', async () => {
    process.env.BASE = baseImage;
    try {
      const { code, stdout, stderr } = await runExample('docker/main.ts');
      // What the docker command says of its own builders goes to stderr too.
      expect(code, stderr).toBe(0);
      const lines = stdout.trim().split('\n');
      expect(lines[0]).toBe('the engine can start it');
      expect(lines[1]).toMatch(/^ready after \d+ ms, in container [0-9a-f]{12}$/);
      expect(lines.slice(2).sort()).toEqual(['long.txt: 12', 'no container is left', 'short.txt: 3']);
    } finally {
      delete process.env.BASE;
      await docker('rmi', '--force', 'open-mcp-gateway/words:example');
    }
  });
});
