import { expect, test } from 'vitest';
import type { GatewayError } from '../../src/errors.js';
import { DockerRuntime, type DockerSpec } from '../../src/runtimes/docker.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';
import { OwnEngine } from '../support/own-engine.js';
import { describeWithDocker } from '../support/real-parts.js';

const line = '{"jsonrpc":"2.0","method":"notifications/reference","params":{"number":1}}';
const deaf: DockerSpec = {
  image: 'shell',
  pull: 'never',
  command: '/bin/busybox',
  args: ['sh', '-c', `echo '${line}'; while :; do /bin/busybox sleep 1; done`],
  network: 'none',
};

describeWithDocker('docker: an engine that goes away', () => {
  test.each(['SIGTERM', 'SIGKILL'] as const)(
    'by %s: the session ends with a reason, and after the next start nothing is left',
    async (signal) => {
      await using engine = await OwnEngine.start();
      const runtime = new DockerRuntime({ host: engine.host });
      const peer = new Peer(await runtime.open(deaf, createRuntimeContext()), 60_000);
      await peer.start();
      await peer.until('its first line', () => peer.messages.length > 0);
      await engine.down(signal);
      const error = await peer.ended();
      expect(error.exit?.reason).toBe('engine-lost');
      expect(error.message).toContain(`lost the engine at ${engine.host}`);
      const refused = await runtime.open(deaf, createRuntimeContext()).catch((thrown: GatewayError) => thrown);
      expect(refused).toMatchObject({ code: 'START_FAILED' });

      await engine.up();
      const next = new Peer(await runtime.open(deaf, createRuntimeContext()), 60_000);
      await next.start();
      await next.until('its first line', () => next.messages.length > 0);
      await next.close();
      await runtime.close();
      expect(engine.docker('ps', '--all', '--quiet')).toBe('');
    },
    180_000,
  );
});
