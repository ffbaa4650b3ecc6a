import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir, userInfo } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';

/** Starts an OpenSSH server of its own on the loopback, with keys of its own. */
export async function startSshHost() {
  const folder = mkdtempSync(join(tmpdir(), 'ssh-host-'));
  const hostKey = join(folder, 'host');
  const userKey = join(folder, 'user');
  for (const key of [hostKey, userKey]) {
    execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
  }
  const authorized = join(folder, 'authorized');
  writeFileSync(authorized, readFileSync(`${userKey}.pub`), { mode: 0o600 });
  const port = await freePort();
  const knownHosts = join(folder, 'known');
  writeFileSync(knownHosts, `[127.0.0.1]:${port} ${readFileSync(`${hostKey}.pub`, 'utf8')}`);
  const config = join(folder, 'config');
  writeFileSync(
    config,
    [
      `Port ${port}`,
      'ListenAddress 127.0.0.1',
      `HostKey ${hostKey}`,
      `AuthorizedKeysFile ${authorized}`,
      'PasswordAuthentication no',
      'StrictModes no',
      'UsePAM no',
      'MaxStartups 100',
      `PidFile ${join(folder, 'pid')}`,
    ].join('\n'),
  );
  // Where it gives up its rights; a service manager would have made it.
  mkdirSync('/run/sshd', { recursive: true });
  const sshd = spawn('/usr/sbin/sshd', ['-D', '-e', '-f', config], { stdio: 'ignore' });
  const ended = once(sshd, 'close');
  while (!(await answers(port))) {
    if (sshd.exitCode !== null) throw new Error(`sshd ended with code ${sshd.exitCode}`);
    await setTimeout(20);
  }
  return {
    spec: {
      host: '127.0.0.1',
      port,
      user: userInfo().username,
      identity_file: userKey,
      known_hosts: knownHosts,
    },
    async close() {
      sshd.kill();
      await ended;
      rmSync(folder, { recursive: true });
    },
  };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}

async function answers(port: number): Promise<boolean> {
  const socket = connect(port, '127.0.0.1');
  try {
    await once(socket, 'connect');
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}
