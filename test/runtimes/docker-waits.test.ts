import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { containersOf, DockerScene, shell } from '../support/docker.js';
import { openEngineProxy } from '../support/engine-proxy.js';
import { describeWithDocker } from '../support/real-parts.js';

/** Answers each line with one, and ends with 7 when it is told to. */
const server = shell(
  'while read -r line; do [ "$line" = \'{"jsonrpc":"2.0","method":"end"}\' ] && exit 7; echo "$line"; done',
);
const question = { jsonrpc: '2.0', id: 1, method: 'ping' } as const;
const end = { jsonrpc: '2.0', method: 'end' } as const;

/** A proxy before the engine that cuts what is silent for long, as the question after the end of a container is. */
async function openImpatientProxy() {
  const waits: Socket[] = [];
  const proxy = await openEngineProxy({
    answered(call, chunk, near) {
      if (call === 'wait') waits.push(near);
      return chunk;
    },
  });
  return { proxy, waits };
}

describeWithDocker('docker: a proxy that cuts the wait for the end of a container', () => {
  test('the session goes on, however often, and the exit code is told', async () => {
    const { proxy, waits } = await openImpatientProxy();
    await using _ = proxy;
    await using scene = new DockerScene(proxy.runtime);
    const peer = await scene.open(server);
    await peer.start();
    for (let cuts = 1; cuts <= 3; cuts += 1) {
      waits.at(-1)?.destroy();
      await expect.poll(() => waits.length, { timeout: 60_000 }).toBe(cuts + 1);
      await peer.transport.send({ ...question, id: cuts });
      await expect.poll(() => peer.messages.length, { timeout: 60_000 }).toBe(cuts);
    }
    await peer.transport.send(end);
    expect(await peer.ended()).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 7 } });
    expect(await containersOf(scene.gatewayId)).toEqual([]);
  });

  test('the exit code of a server that ends in that moment is told', async () => {
    const { proxy, waits } = await openImpatientProxy();
    await using _ = proxy;
    await using scene = new DockerScene(proxy.runtime);
    const peer = await scene.open(server);
    await peer.start();
    waits.at(-1)?.destroy();
    await peer.transport.send(end);
    expect(await peer.ended()).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 7 } });
    expect(await containersOf(scene.gatewayId)).toEqual([]);
  });
});
