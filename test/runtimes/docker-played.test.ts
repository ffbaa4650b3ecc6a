import { expect, test } from 'vitest';
import { createRuntimeContext } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';
import { PlayedEngine } from '../support/played-engine.js';

test('docker: a container that its engine could not remove at its end is removed', async () => {
  await using engine = await PlayedEngine.listen();
  const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
  await peer.start();
  engine.endServer({ StatusCode: 7, Error: { Message: 'failed to remove root filesystem: device or resource busy' } });
  expect(await peer.ended()).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 7 } });
  expect(engine.hasContainer).toBe(false);
});

test('docker: a container that its engine has removed is not removed again', async () => {
  await using engine = await PlayedEngine.listen();
  const peer = new Peer(await engine.runtime.open({ image: 'image' }, createRuntimeContext()), 60_000);
  await peer.start();
  engine.endServer({ StatusCode: 7 });
  expect(await peer.ended()).toMatchObject({ code: 'SERVER_EXITED', exit: { code: 7 } });
  expect(engine.removals).toBe(0);
});
