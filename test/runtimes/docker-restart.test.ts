import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { expect, test } from 'vitest';
import { createGateway, DockerRuntime } from '../../src/index.js';
import { OwnEngine } from '../support/own-engine.js';
import { isAlive } from '../support/processes.js';
import { describeWithDocker } from '../support/real-parts.js';

/** A server that greets and never answers anything else. It does not end by itself, and ignores SIGTERM. */
const server = `
trap '' TERM
about='{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"shell","version":"1"}}'
while read -r line; do
  id=$(echo "$line" | /bin/busybox sed -n 's/.*"id":\\("[^"]*"\\|[0-9]*\\).*/\\1/p')
  case "$line" in *'"initialize"'*) echo '{"jsonrpc":"2.0","id":'"$id"',"result":'"$about"'}' ;; esac
done
while :; do /bin/busybox sleep 1; done`;

describeWithDocker('docker: an engine that goes away', () => {
  test.concurrent.each(['SIGTERM', 'SIGKILL'] as const)(
    'by %s: requests are answered once, and the container that lives on goes with the next start',
    async (signal) => {
      await using engine = await OwnEngine.start();
      const pidOf = (id: string) => Number(engine.docker('inspect', '--format', '{{.State.Pid}}', id));
      const containers = () => engine.docker('ps', '--all', '--quiet').split('\n').filter(Boolean);
      const runtime = {
        type: 'docker',
        image: 'shell',
        pull: 'never',
        command: '/bin/busybox',
        args: ['sh', '-c', server],
        network: 'none',
      } as const;
      const gateway = createGateway(
        { servers: [{ id: 'shell', isolation: 'caller', start_timeout: '1m', runtime }] },
        { runtimes: [new DockerRuntime({ host: engine.host })] },
      );
      const connect = async () => {
        const client = new Client({ name: 'test', version: '1' });
        const errors: Error[] = [];
        client.onerror = (error) => errors.push(error);
        const closed = new Promise<void>((resolve) => {
          client.onclose = resolve;
        });
        await client.connect(gateway.connect('shell') as Transport);
        return { client, errors, closed };
      };
      const first = await connect();
      const [id = ''] = containers();
      const pid = pidOf(id);
      expect(isAlive(pid)).toBe(true);
      let answers = 0;
      const calls = Array.from({ length: 5 }, (_, number) =>
        first.client
          .callTool({ name: `never-${number}` })
          .catch((error: unknown) => error)
          .finally(() => {
            answers += 1;
          }),
      );

      await engine.down(signal);
      for (const outcome of await Promise.all(calls)) {
        expect(outcome).toMatchObject({
          message: expect.stringContaining('got no answer, outcome unknown'),
          data: { code: 'SERVER_EXITED', exit: { reason: 'engine-lost' } },
        });
      }
      await first.closed;
      expect(answers).toBe(5);
      expect(first.errors.map(({ message }) => message).join()).toContain(`lost the engine at ${engine.host}`);
      await expect(connect()).rejects.toMatchObject({ code: 'START_FAILED' });
      // Nobody could end it.
      expect(isAlive(pid)).toBe(true);

      await engine.up();
      // It is removed by whichever try comes first now, beside the next start at the latest.
      const next = await connect();
      await expect.poll(() => containers().includes(id) || isAlive(pid), { timeout: 60_000 }).toBe(false);
      expect(containers()).toHaveLength(1);
      await next.client.close();
      await gateway.close();
      expect(containers()).toEqual([]);
    },
    180_000,
  );
});
