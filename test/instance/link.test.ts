import { expect, test } from 'vitest';
import { GatewayError } from '../../src/errors.js';
import { Link } from '../../src/instance/link.js';
import type { LinkTransport } from '../../src/instance/link-transport.js';
import type { JSONRPCMessage, JSONRPCRequest, RequestId } from '../../src/sdk.js';
import { FakeClock, settle } from '../support/fake-clock.js';

const answer = { protocolVersion: '2025-11-25', capabilities: {}, serverInfo: { name: 's', version: '1' } };

/** A link to a server that answers `initialize`, and the messages that the server has got. */
function setUp({
  initialized = Promise.resolve(),
  onOpen = () => {},
  health,
}: {
  initialized?: Promise<void>;
  onOpen?: () => void;
  health?: LinkTransport['health'];
} = {}) {
  const received: JSONRPCMessage[] = [];
  const answers: unknown[] = [];
  const connect = (): LinkTransport => {
    const transport: LinkTransport = {
      ...(health && { health }),
      start: async () => {},
      async send(message) {
        received.push(message);
        if ('id' in message && 'method' in message && message.method === 'initialize') {
          await initialized;
          transport.onmessage?.({ jsonrpc: '2.0', id: message.id, result: answer });
        }
      },
      close: async () => transport.onclose?.(),
    };
    return transport;
  };
  const link = new Link(
    { server: 'a', startTimeoutMs: undefined, watch: undefined, connect },
    {
      clock: new FakeClock(),
      activity: () => 'none',
      initializeParams: () => ({}),
      onOpen,
      onRequest() {},
      onNotification() {},
      onEnd() {},
    },
  );
  const call: JSONRPCRequest = { jsonrpc: '2.0', id: 0, method: 'tools/call' };
  const request = () => link.request(call, { onAnswer: (response) => answers.push(response) }) as RequestId;
  const methods = () => received.map((message) => ('method' in message ? message.method : 'response'));
  return { link, request, methods, answers };
}

test('a server hears nothing of a request that was cancelled just before it was sent', async () => {
  const { link, request, methods, answers } = setUp({ onOpen: () => link.cancel(id, { reason: 'enough' }) });
  const id = request();
  await link.open();
  await settle();
  expect(methods()).toEqual(['initialize', 'notifications/initialized']);
  expect(answers).toEqual([]);
});

test('of a request that waits for its server a link that is closed says that it was not delivered', async () => {
  const { promise: initialized, resolve } = Promise.withResolvers<void>();
  const { link, request, methods, answers } = setUp({ initialized });
  request();
  await settle();
  await link.close();
  resolve();
  await settle();
  expect(answers).toMatchObject([{ error: { data: { code: 'TRANSPORT_CLOSED', delivered: false } } }]);
  expect(methods()).toEqual(['initialize']);
});

test('nothing is left of a check of ours when its server is sent to rest', async () => {
  const { link, methods } = setUp();
  await link.open();
  const checking = link.probe(new AbortController().signal).catch((error: unknown) => error);
  await settle();
  link.rest();
  expect(await Promise.race([checking, settle()])).toMatchObject({ code: 'TRANSPORT_CLOSED' });
  expect(methods()).toEqual(['initialize', 'notifications/initialized', 'ping']);
});

test('a server that does not answer is not found alive because what runs it waits for consent', async () => {
  const health = () => Promise.reject(new GatewayError('AUTH_REQUIRED', 'a person has to consent'));
  const { link } = setUp({ health });
  await link.open();
  const alive = link.probe(new AbortController().signal).then(() => 'alive');
  expect(await Promise.race([alive, settle()])).toBeUndefined();
  link.rest();
  await expect(alive).rejects.toMatchObject({ code: 'TRANSPORT_CLOSED' });
});

test('a server that ends with what it is told at its opening has made its handshake', async () => {
  const { link } = setUp({ onOpen: () => link.transport?.onclose?.() });
  expect(await link.open()).toMatchObject({ protocolVersion: '2025-11-25' });
  expect(link.isActive).toBe(false);
});
