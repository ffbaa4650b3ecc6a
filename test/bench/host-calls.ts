import { fork } from 'node:child_process';
import { once } from 'node:events';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import { callTimes, toSize } from './call-times.ts';
import { ClientCaller } from './calls.ts';
import { type Library, libraryUrl } from './library.ts';
import { compare, type Row } from './report.ts';
import { echoServer, serverFile, type Way } from './transports.ts';

const kibibyte = 1024;

/**
 * Calls over HTTP: the merged peer with a server over stdio behind it, against the SDK's own server, which answers itself. And
 * what the second process alone takes: a relay that does nothing but hand texts on.
 */
export async function hostCalls(_: Library, options: { readonly library?: string | undefined }): Promise<Row[]> {
  const server = [echoServer.command, ...echoServer.args];
  const [ours, relay, sdk] = await Promise.all([
    openHost('gateway.serve()', serverFile('merged-host.mjs'), [libraryUrl(options.library).href, ...server]),
    openHost('raw relay', serverFile('relay-host.mjs'), server),
    openHost('SDK v1 McpServer', serverFile('sdk-host.mjs'), []),
  ]);
  return callTimes([{ ...ours, prefix: 'bench__' }, relay, sdk], ClientCaller.connect, async (times) => {
    const rows: Row[] = [];
    for (const bytes of [100, 64 * kibibyte, kibibyte * kibibyte]) {
      for (const atOnce of [1, 16, 128]) {
        if (bytes < kibibyte * kibibyte || atOnce < 128) {
          const what = `${toSize(bytes)} calls, ${atOnce} at once, over HTTP`;
          const goal = bytes < kibibyte * kibibyte ? { atMost: 1.05 } : undefined;
          const samples = await times({ bytes, atOnce, atMost: bytes < kibibyte * kibibyte ? 512 : 64 });
          rows.push(
            compare(samples, { what, ours: ours.name, other: sdk.name, goal }),
            compare(samples, { what, ours: relay.name, other: sdk.name, goal: undefined }),
          );
        }
      }
    }
    return rows;
  });
}

/** A program that serves over HTTP, and a way to call it. */
export async function openHost(name: string, file: string, args: readonly string[]): Promise<Way> {
  const child = fork(file, [...args], { execPath: process.execPath, execArgv: [] });
  const [url] = (await once(child, 'message')) as [string];
  const transport = new StreamableHTTPClientTransport(new URL(url));
  return {
    name,
    transport: transport as Way['transport'],
    async close() {
      await transport.close();
      const exit = once(child, 'exit');
      child.disconnect();
      await exit;
    },
  };
}
