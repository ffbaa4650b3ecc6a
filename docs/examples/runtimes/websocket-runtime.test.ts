import { after, before, describe, test } from 'node:test';
import { runtimeContract } from 'open-mcp-gateway/testing';
import { listen } from './websocket-host.ts';
import { WebSocketRuntime } from './websocket-runtime.ts';

describe('websocket', () => {
  let host: Awaited<ReturnType<typeof listen>>;
  before(async () => {
    host = await listen();
  });
  after(() => host.close());

  // #region contract
  runtimeContract(test, {
    create: () => new WebSocketRuntime(),
    working: (args) => ({ url: `${host.url}/?${args.map((arg) => `arg=${encodeURIComponent(arg)}`).join('&')}` }),
    broken: () => ({ url: 'ws://127.0.0.1:9' }),
  });
  // #endregion contract
});
