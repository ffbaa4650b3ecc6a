import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { referenceServerPath } from 'open-mcp-gateway/testing';
import { WebSocketServer } from 'ws';

/** Runs the reference server once for each connection, and passes lines on as frames and frames as lines. */
export async function listen(): Promise<{ url: string; close(): Promise<void> }> {
  const host = new WebSocketServer({ port: 0, host: '127.0.0.1' });
  host.on('connection', (socket, request) => {
    const args = new URL(request.url ?? '/', 'ws://localhost').searchParams.getAll('arg');
    const child = spawn(process.execPath, [referenceServerPath(), ...args], { stdio: ['pipe', 'pipe', 'ignore'] });
    socket.on('message', (frame) => child.stdin.write(`${frame}\n`));
    child.stdin.on('error', () => {});
    // Not by readline, which ends lines at U+2028 too.
    let rest = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = `${rest}${text}`.split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) socket.send(line);
    });
    child.on('close', (code) => socket.close(code === 0 ? 1000 : 1011, `exit ${code}`));
    socket.on('close', () => child.kill('SIGKILL'));
  });
  await once(host, 'listening');
  const close = async () => {
    const children = [...host.clients].map((socket) => once(socket, 'close'));
    for (const socket of host.clients) socket.terminate();
    await Promise.all(children);
    host.close();
    await once(host, 'close');
  };
  return { url: `ws://127.0.0.1:${(host.address() as AddressInfo).port}`, close };
}
