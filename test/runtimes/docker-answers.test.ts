import type { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { containersOf, DockerScene, shell, untilContainers } from '../support/docker.js';
import { openEngineProxy } from '../support/engine-proxy.js';
import { describeWithDocker } from '../support/real-parts.js';

/** What becomes of the engine's answer to a call. */
type Fault = (chunk: Buffer, near: Socket) => void;

const answer = (status: string, body: string, type: string) =>
  `HTTP/1.1 ${status}\r\nContent-Type: ${type}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
const page = '<html><head><title>502 Bad Gateway</title></head>\n<body><h1>Bad\u001b[31m Gateway</h1></body></html>';

const proxyPage: Fault = (_, near) => near.end(answer('502 Bad Gateway', page, 'text/html'));
const says =
  (body: string): Fault =>
  (_, near) =>
    near.end(answer('201 Created', body, 'application/json'));
const cutShort: Fault = (chunk, near) => near.end(chunk.subarray(0, 20));
const cutBody: Fault = (chunk, near) => near.end(chunk.subarray(0, -10));
const silentStream: Fault = (_, near) =>
  near.write('HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n');

/**
 * What no engine answers in good health, but what stands between or an engine that is ending may. The engine is a real one,
 * which does what it is asked.
 */
describeWithDocker('docker: answers that are none', () => {
  test.concurrent.each<[string, string, Fault, RegExp]>([
    ['create', 'a page of a proxy', proxyPage, /the engine answered with status 502: 502 Bad Gateway Bad Gateway$/],
    ['create', 'half a head', cutShort, /lost the connection to the engine/],
    ['create', 'half a body', cutBody, /lost the connection to the engine/],
    [
      'create',
      'half of JSON',
      says('{"Id":"abc'),
      /the engine answered with what is no JSON; is there a proxy between\?/,
    ],
    ['create', 'no id', says('{"Warnings":[]}'), /did not say which container it made/],
    ['create', 'null', says('null'), /did not say which container it made/],
    ['attach', 'a page of a proxy', proxyPage, /the engine answered with status 502/],
    ['attach', 'half a head', cutShort, /lost the connection to the engine/],
    ['attach', 'a stream that is not one', silentStream, /status 200, and no stream; is there a proxy between\?/],
    ['wait', 'a page of a proxy', proxyPage, /the engine answered with status 502/],
    ['start', 'a page of a proxy', proxyPage, /the engine answered with status 502/],
    ['start', 'half a head', cutShort, /lost the connection to the engine/],
  ])('%s is answered with %s: the start fails, and nothing is left', async (call, _, fault, expected) => {
    await using proxy = await openEngineProxy({
      answered(name, chunk, near) {
        if (name !== call) return chunk;
        fault(chunk, near);
        return undefined;
      },
    });
    await using scene = new DockerScene(proxy.runtime);
    expect(await scene.failure(shell('cat'))).toMatch(expected);
    expect(await containersOf(scene.gatewayId)).toEqual([]);
  });

  test.concurrent.each<[string, Fault]>([
    [
      'what are no frames',
      (chunk, near) => near.write(Buffer.concat([chunk, Buffer.from('HTTP/1.1 400 Bad Request')])),
    ],
    ['its end', (chunk, near) => near.end(chunk)],
    ['a cut', (chunk, near) => near.write(chunk, () => near.destroy())],
  ])('the stream of a container begins with %s: the session ends, and nothing is left', async (_, fault) => {
    await using proxy = await openEngineProxy({
      answered(name, chunk, near) {
        if (name !== 'attach') return chunk;
        fault(chunk, near);
        return undefined;
      },
    });
    await using scene = new DockerScene(proxy.runtime);
    const peer = await scene.open(shell('sleep 1000'));
    await peer.start();
    const error = await peer.ended();
    expect(error.code).toBe('SERVER_EXITED');
    expect(peer.closes).toBe(1);
    expect(await containersOf(scene.gatewayId)).toEqual([]);
  });
});

describeWithDocker('docker: an engine that cannot be reached for a while', () => {
  const stubborn = shell("trap '' TERM; while :; do sleep 1; done");

  test('a container that could not be removed then is removed by close(), though another start has failed', async () => {
    await using proxy = await openEngineProxy({ answered: (_call, chunk) => chunk });
    await using scene = new DockerScene(proxy.runtime);
    const peer = await scene.open(stubborn);
    await peer.start();
    proxy.reachable(false);
    expect((await peer.ended()).message).toMatch(/lost the engine/);
    expect(await scene.failure(stubborn)).toMatch(/engine/);
    expect(await containersOf(scene.gatewayId)).toHaveLength(1);
    proxy.reachable(true);
    await scene.runtime.close();
    expect(await containersOf(scene.gatewayId)).toEqual([]);
  });

  test.each(['start', 'close'])(
    'a container whose making was not answered for, nor asked about, is removed by the next %s',
    async (step) => {
      let isFirst = true;
      await using proxy = await openEngineProxy({
        answered(call, chunk) {
          if (call !== 'create' || !isFirst) return chunk;
          isFirst = false;
          proxy.reachable(false);
          return undefined;
        },
      });
      await using scene = new DockerScene(proxy.runtime);
      expect(await scene.failure(shell('cat'))).toMatch(/lost the connection to the engine/);
      expect(await containersOf(scene.gatewayId)).toHaveLength(1);
      await expect(scene.runtime.close()).rejects.toMatchObject({
        code: 'STOP_FAILED',
        message: expect.stringContaining(`that of instance ${scene.gatewayId}-1, if it was made`),
      });
      proxy.reachable(true);
      if (step === 'close') {
        await scene.runtime.close();
        expect(await containersOf(scene.gatewayId)).toEqual([]);
      } else {
        await scene.open(stubborn);
        expect(await untilContainers(scene.gatewayId, 1)).toHaveLength(1);
      }
    },
  );
});
