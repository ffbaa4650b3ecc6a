import { writeFile } from 'node:fs/promises';
import { delimiter, join } from 'node:path';
import { expect, test } from 'vitest';
import { temporaryFolder } from '../support/docker.js';
import { startHost } from '../support/host.js';

test.runIf(process.platform === 'linux')(
  'ssh, helpers and plugins for credentials that fail for want of descriptors keep none',
  async () => {
    await using folder = await temporaryFolder();
    const at = (name: string) => join(folder.path, name);
    for (const name of ['ssh', 'docker-credential-store', 'plugin']) {
      await writeFile(at(name), '#!/bin/sh\necho refused by the test >&2\nexit 3\n', { mode: 0o755 });
    }
    await writeFile(at('config.json'), '{"credsStore":"store"}');
    const exec = { apiVersion: 'client.authentication.k8s.io/v1', command: at('plugin') };
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'one',
      clusters: [{ name: 'one', cluster: { server: 'https://127.0.0.1:9' } }],
      contexts: [{ name: 'one', context: { cluster: 'one', user: 'one' } }],
      users: [{ name: 'one', user: { exec } }],
    };
    await writeFile(at('kubeconfig'), JSON.stringify(config));
    const few = ['/bin/sh', '-c', 'ulimit -n 100; PATH=$1; shift; exec "$@"', 'sh'];
    const path = [folder.path, process.env.PATH].join(delimiter);
    const host = startHost('helpers-come-and-go', [folder.path], [], [...few, path]);
    expect(JSON.parse((await host.lines.next()).value ?? host.stderr())).toEqual({
      ssh: { enough: expect.stringContaining('ssh ended with code 3: refused by the test'), kept: 0 },
      helper: { enough: 'the credential helper docker-credential-store ended with code 3', kept: 0 },
      plugin: { enough: expect.stringContaining('refused by the test'), kept: 0 },
    });
    expect(await host.ended(120_000)).toBe(0);
  },
);
