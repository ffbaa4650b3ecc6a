import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { floodKinds } from '../fixtures/http/flooding-host.ts';
import { Lag, type Lags } from './lag.ts';
import type { Library } from './library.ts';
import { median } from './measure.ts';
import { milliseconds, type Row } from './report.ts';

const rounds = 5;
const goalMs = 50;
const floodServer = fileURLToPath(new URL('../fixtures/servers/flood.mjs', import.meta.url));

/** By what a server floods with, how much of it: some seconds together. */
const amounts = {
  line: 200_000_000,
  dribble: 300_000,
  stderr: 500_000_000,
  log: 1_000_000,
  text: 1_000_000,
  brace: 300_000,
  empty: 5_000_000,
  array: 500_000,
  deep: 300_000,
  binary: 1_000_000,
};

/** How late the event loop of the host is while a server writes without measure: the 99th percentile, the median of rounds. */
export async function floods(library: Library): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [kind, amount] of Object.entries(amounts)) {
    rows.push(await measure(`stdio, ${kind}`, () => floodOverStdio(library, kind, amount)));
  }
  const server = fork(fileURLToPath(new URL('servers/flooding.ts', import.meta.url)), { execArgv: ['--no-warnings'] });
  const [url] = (await once(server, 'message')) as [string];
  for (const kind of floodKinds) {
    rows.push(await measure(`HTTP, ${kind}`, () => floodOverHttp(library, url, kind)));
  }
  server.disconnect();
  return rows;
}

async function measure(what: string, flood: () => Promise<void>): Promise<Row> {
  const all: Lags[] = [];
  for (let round = 0; round <= rounds; round += 1) {
    const lag = new Lag();
    lag.resume();
    await flood();
    lag.pause();
    // The compiler is at work in the first one.
    if (round > 0) all.push(lag.whole());
  }
  const p99 = median(all.map((one) => one.p99));
  const most = Math.max(...all.map((one) => one.max));
  const cells = {
    what: `event-loop lag, ${what}`,
    ours: `${milliseconds(p99)} p99`,
    other: `${milliseconds(most)} at most`,
  };
  return { ...cells, result: '', goal: `≤ ${goalMs} ms`, met: p99 <= goalMs };
}

async function floodOverStdio(library: Library, kind: string, amount: number): Promise<void> {
  const args = [floodServer, kind, String(amount)];
  const runtime = { type: 'local-process' as const, command: process.execPath, args };
  const gateway = library.createGateway({ servers: [{ id: 'flood', protocol: 'legacy' as const, runtime }] });
  const transport = gateway.connect('flood');
  const over = Promise.withResolvers<void>();
  transport.onmessage = (message) => {
    if ('method' in message && message.method === 'end') over.resolve();
  };
  transport.onerror = () => {};
  transport.onclose = () => over.resolve();
  await transport.start();
  await over.promise;
  await gateway.close({ graceMs: 0 });
}

async function floodOverHttp(library: Library, url: string, kind: string): Promise<void> {
  const runtime = { type: 'remote-sse' as const, url, transport: 'streamable-http' as const };
  const gateway = library.createGateway({ servers: [{ id: 'flood', runtime }] });
  const transport = gateway.connect('flood');
  await transport.start();
  const clientInfo = { name: 'bench', version: '1' };
  await ask(transport, 'initialize', { protocolVersion: '2025-11-25', capabilities: {}, clientInfo });
  await ask(transport, 'tools/call', { name: kind, arguments: {} });
  await gateway.close({ graceMs: 0 });
}

/** Resolves with the answer of whatever kind. */
async function ask(transport: Transport, method: string, params: Record<string, unknown>): Promise<void> {
  const answered = new Promise<void>((resolve) => {
    transport.onmessage = () => resolve();
    transport.onclose = resolve;
  });
  await transport.send({ jsonrpc: '2.0', id: method, method, params });
  await answered;
}
