/**
 * Our transports fit SDK v1 and both packages of SDK v2, and theirs fit ours. `npm run types` compiles this file; a line
 * marked `@ts-expect-error` shows that the compiler would notice.
 */
import type { Transport as ClientTransport } from '@modelcontextprotocol/client';
import type { Transport as LegacyTransport } from '@modelcontextprotocol/sdk/shared/transport.js';
import type { Transport as ServerTransport } from '@modelcontextprotocol/server';
import type { Gateway, RuntimeTransport } from '../../src/index.js';
import type { JSONRPCMessage } from '../../src/sdk.js';

declare const runtime: RuntimeTransport;
declare const legacy: LegacyTransport;
declare const client: ClientTransport;
declare const server: ServerTransport;

// What a runtime returns is a transport of every SDK.
export const runtimeIsLegacy: LegacyTransport = runtime;
export const runtimeIsClient: ClientTransport = runtime;
export const runtimeIsServer: ServerTransport = runtime;

// A transport of every SDK is what a runtime may return.
export const legacyIsRuntime: RuntimeTransport = legacy;
export const clientIsRuntime: RuntimeTransport = client;
export const serverIsRuntime: RuntimeTransport = server;

// What connect() returns fits all of them, and a framework whose callbacks are there or not, as those of `@ai-sdk/mcp` are.
interface FrameworkTransport extends Pick<LegacyTransport, 'start' | 'send' | 'close'> {
  onclose?: () => void;
  onerror?: (error: Error) => void;
  onmessage?: (message: JSONRPCMessage) => void;
}
declare const gateway: Gateway;
export const connectedIsFramework: FrameworkTransport = gateway.connect();
export const oneServerIsFramework: FrameworkTransport = gateway.connect('id');
export const connectedIsLegacy: LegacyTransport = gateway.connect();
export const connectedIsClient: ClientTransport = gateway.connect();
// @ts-expect-error its callbacks may be there and undefined
export const legacyIsFramework: FrameworkTransport = legacy;

// Part of a transport is none.
type Mute = Omit<RuntimeTransport, 'send'>;
declare const mute: Mute;
// @ts-expect-error send() is missing
export const muteIsLegacy: LegacyTransport = mute;
// @ts-expect-error send() is missing
export const muteIsClient: ClientTransport = mute;
// @ts-expect-error send() is missing
export const muteIsServer: ServerTransport = mute;
// @ts-expect-error send() is missing
export const muteIsRuntime: RuntimeTransport = mute;

// A transport that takes other messages is none.
type Lines = Omit<LegacyTransport, 'send'> & { send(line: string): Promise<void> };
declare const lines: Lines;
// @ts-expect-error send() takes text
export const linesIsLegacy: LegacyTransport = lines;
// @ts-expect-error send() takes text
export const linesIsClient: ClientTransport = lines;
// @ts-expect-error send() takes text
export const linesIsServer: ServerTransport = lines;
// @ts-expect-error send() takes text
export const linesIsRuntime: RuntimeTransport = lines;
