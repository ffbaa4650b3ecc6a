import { existsSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { referenceServerPath, runtimeContract } from 'open-mcp-gateway/testing';
import { startSshHost } from './ssh-host.ts';
import { SshRuntime } from './ssh-runtime.ts';

const missing = !existsSync('/usr/sbin/sshd') && 'there is no OpenSSH server here (Debian package openssh-server)';
if (missing && process.env.CI === 'true') throw new Error(missing);

describe('ssh', { skip: missing }, () => {
  let host: Awaited<ReturnType<typeof startSshHost>>;
  before(async () => {
    host = await startSshHost();
  });
  after(() => host.close());

  runtimeContract(test, {
    create: () => new SshRuntime(),
    working: (args) => ({ ...host.spec, command: process.execPath, args: [referenceServerPath(), ...args] }),
    broken: () => ({ ...host.spec, command: 'no-such-program' }),
  });
});
