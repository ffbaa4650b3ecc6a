import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { afterEach, expect, test, vi } from 'vitest';
import { createGateway, type GatewayOptions, LocalProcessRuntime } from '../../src/index.js';
import type { JSONRPCMessage, Transport } from '../../src/sdk.js';
import { createHttpHost, type HttpHost, type Serve } from './http-host.js';
import { begin, open } from './raw-client.js';

const args = [fileURLToPath(new URL('../fixtures/servers/exact.mjs', import.meta.url))];
const catalog = {
  servers: [{ id: 'exact', runtime: { type: 'local-process', command: process.execPath, args } }],
} as const;
const padding = 'x'.repeat(8_000);
const closing: (() => Promise<void>)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

type Change = (fields: Record<string, unknown>) => void;
const change: Change = (fields) => {
  fields.changed = true;
};

async function createHost(
  options: GatewayOptions,
  serve?: (transport: Transport, gateway: ReturnType<typeof createGateway>) => Promise<void>,
): Promise<HttpHost> {
  const gateway = createGateway(catalog, options as GatewayOptions<readonly []>);
  const serveSession: Serve = (transport, caller) =>
    serve?.(transport, gateway) ?? gateway.serve(transport, { caller });
  const host = await createHttpHost(serveSession);
  closing.push(async () => {
    await host.close();
    await gateway.close({ graceMs: 0 });
  });
  return host;
}

/** Calls the tool; tells the line that the server got, and the text that came back. */
async function call(host: HttpHost) {
  const session = { 'mcp-session-id': await begin(host.url) };
  const outgoing = open(host.url, 'POST', session);
  const answered = once(outgoing, 'response') as Promise<[IncomingMessage]>;
  outgoing.end(
    `{"jsonrpc":"2.0","id":"call","method":"tools/call","params":{"name":"exact__any","arguments":{"exact":12345678901234567890,"padding":"${padding}"}}}`,
  );
  const body = await text((await answered)[0]);
  const { id, result } = JSON.parse(body);
  expect(id).toBe('call');
  return { body, result, line: result.content[0].text as string };
}

test('what nobody looks at passes as the text that it was, both ways', async () => {
  const { line, body } = await call(await createHost({}));
  expect(line).toContain(`"arguments":{"exact":12345678901234567890,"padding":"${padding}"}`);
  expect(JSON.parse(line)).toMatchObject({ method: 'tools/call', params: { name: 'any' } });
  expect(body).toContain('"result":{"exact":12345678901234567890,');
});

test('what an interceptor changes in place, the other side gets', async () => {
  const intercept: GatewayOptions['intercept'] = async ({ params }, next) => {
    change(params.arguments as Record<string, unknown>);
    const result = await next(params);
    change(result as Record<string, unknown>);
    return result;
  };
  const { line, result } = await call(await createHost({ intercept }));
  expect(JSON.parse(line).params.arguments).toMatchObject({ changed: true, padding });
  expect(result).toMatchObject({ changed: true, padding });
});

test('what a host changes that looks at messages first, the server gets', async () => {
  const look = vi.fn((message: JSONRPCMessage) => {
    if ('method' in message && message.method === 'tools/call') change(message.params?.arguments as never);
  });
  const host = await createHost({}, (transport, gateway) => {
    transport.onmessage = look;
    return gateway.serve(transport);
  });
  const { line } = await call(host);
  expect(JSON.parse(line).params.arguments).toMatchObject({ changed: true, padding });
  // It gets no text that could be passed on with what has changed.
  expect(Reflect.ownKeys(look.mock.lastCall?.[1 as never] as object)).toEqual(['requestInfo', 'caller']);
});

test('what stands around the transport of a session may change messages, whatever it hands on', async () => {
  const host = await createHost({}, async (transport, gateway) => {
    const send = transport.send.bind(transport);
    transport.send = (message, ...rest) => {
      if ('result' in message) change(message.result);
      return send(message, ...rest);
    };
    await gateway.serve(transport);
    const { onmessage } = transport;
    transport.onmessage = (...given) => {
      const [message] = given as unknown as [JSONRPCMessage];
      if ('method' in message && message.method === 'tools/call') change(message.params?.arguments as never);
      onmessage?.(...given);
    };
  });
  const { line, result } = await call(host);
  expect(JSON.parse(line).params.arguments).toMatchObject({ changed: true, padding });
  expect(result).toMatchObject({ changed: true, padding });
});

test('what stands around the transport of a runtime may change messages, whatever it hands on', async () => {
  class Changing extends LocalProcessRuntime {
    override async open(...given: Parameters<LocalProcessRuntime['open']>) {
      const transport = await super.open(...given);
      const send = transport.send.bind(transport);
      transport.send = (message, ...rest) => {
        if ('method' in message && message.method === 'tools/call') change(message.params?.arguments as never);
        return send(message, ...rest);
      };
      let listener: typeof transport.onmessage;
      Object.defineProperty(transport, 'onmessage', {
        get: () =>
          listener &&
          ((...all: Parameters<NonNullable<typeof listener>>) => {
            const [message] = all as unknown as [JSONRPCMessage];
            if ('result' in message) change(message.result);
            listener?.(...all);
          }),
        set: (next) => {
          listener = next;
        },
      });
      return transport;
    }
  }
  const { line, result } = await call(await createHost({ runtimes: [new Changing()] as never }));
  expect(JSON.parse(line).params.arguments).toMatchObject({ changed: true, padding });
  expect(result).toMatchObject({ changed: true, padding });
});

test('whoever uses a transport of one server gets no text with a message', async () => {
  const gateway = createGateway(catalog);
  closing.push(() => gateway.close({ graceMs: 0 }));
  const transport = gateway.connect('exact');
  const received = Promise.withResolvers<unknown[]>();
  transport.onmessage = (...all: unknown[]) => received.resolve(all);
  await transport.start();
  await transport.send({ jsonrpc: '2.0', id: 1, method: 'tools/call', params: { name: 'any', arguments: {} } });
  const [message, extra] = await received.promise;
  expect(message).toMatchObject({ id: 1, result: { padding } });
  expect(extra).toBeUndefined();
});
