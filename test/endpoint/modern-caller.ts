import type { RequestId, Transport } from '../../src/sdk.js';
import type { Json } from './scripted-server.js';
import { TestCaller } from './test-caller.js';

const prefix = 'io.modelcontextprotocol/';

/** The envelope of a request of the stateless era. */
export function envelope(capabilities: Json = {}, more: Json = {}): Json {
  return {
    [`${prefix}protocolVersion`]: '2026-07-28',
    [`${prefix}clientCapabilities`]: capabilities,
    [`${prefix}clientInfo`]: { name: 'test', version: '1' },
    ...more,
  };
}

/** A caller of the stateless era that speaks JSON-RPC itself. */
export class ModernTestCaller extends TestCaller {
  capabilities: Json = {};

  static override async open(transport: Transport, capabilities: Json = {}): Promise<ModernTestCaller> {
    const caller = new ModernTestCaller(transport);
    caller.capabilities = capabilities;
    await transport.start();
    return caller;
  }

  override request(method: string, params: Json = {}, id?: RequestId): Promise<Json> {
    const { _meta, ...rest } = params;
    const meta = { ...envelope(this.capabilities), ...(_meta as Json | undefined) };
    return super.request(method, { ...rest, _meta: meta }, ...(id === undefined ? [] : [id]));
  }

  call(name: string, params: Json = {}): Promise<Json> {
    return this.result('tools/call', { name, ...params });
  }
}
