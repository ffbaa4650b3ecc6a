import { test } from 'vitest';
import { DockerRuntime, type DockerSpec } from '../../src/runtimes/docker.js';
import { referenceServerPath, runtimeContract } from '../../src/testing/index.js';
import { baseImage, describeWithDocker } from '../support/real-parts.js';

describeWithDocker('docker', () => {
  // Much of each case is waiting, so several run at once.
  runtimeContract((name, body) => test.concurrent(name, { timeout: 150_000 }, body), {
    guardMs: 60_000,
    create: () => new DockerRuntime(),
    working: (args): DockerSpec => ({
      image: baseImage,
      command: 'node',
      args: ['/server/reference-server.ts', ...args],
      volumes: [`${referenceServerPath()}:/server/reference-server.ts:ro`],
      // The suite's servers report to its loopback.
      network: 'host',
    }),
    broken: (): DockerSpec => ({ image: 'mcp-test/no-such-image:never', pull: 'never' }),
  });
});
