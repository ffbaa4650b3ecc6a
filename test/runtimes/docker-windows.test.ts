// What a gateway on Windows asks of an engine, whose machine has paths of Linux.
import { expect, test, vi } from 'vitest';
import { configFolder } from '../../src/runtimes/docker/engine/docker-config.js';
import { findHostControl } from '../../src/runtimes/docker/host-control.js';
import { toVolumes } from '../../src/runtimes/docker/volumes.js';

vi.hoisted(() => Object.defineProperty(process, 'platform', { value: 'win32' }));
vi.mock('node:path', async (load) => {
  const { win32 } = await load<typeof import('node:path')>();
  return { ...win32, default: win32 };
});

const pipe = '//./pipe/docker_engine';

test.each([
  ['/srv/data:/data', '/srv/data'],
  ['/srv/../data/:/data', '/data'],
  ['//c/Users/me:/data', '/c/Users/me'],
  ['//wsl.localhost/Ubuntu/home/me:/data', '\\\\wsl.localhost\\Ubuntu\\home\\me'],
  ['//wsl$/Ubuntu/home/me:/data', '\\\\wsl$\\Ubuntu\\home\\me'],
  ['./docs:/data', 'C:\\catalog\\docs'],
  ['..:/data', 'C:\\'],
  ['D:\\docs:/data', 'D:\\docs'],
  ['D:/docs:/data', 'D:/docs'],
])('the source of %s is %s', (volume, source) => {
  const { mounts } = toVolumes([volume], 'C:\\catalog');
  expect(mounts).toEqual([{ Type: 'bind', Source: source, Target: '/data', ReadOnly: false }]);
});

test.each([
  ['/', pipe, 'is the root of the machine'],
  ['C:\\', pipe, 'is the root of the machine'],
  ['/c', pipe, 'is the root of the machine'],
  ['//C/', pipe, 'is the root of the machine'],
  ['/host_mnt', pipe, 'is the root of the machine'],
  ['/mnt/host/c', pipe, 'is the root of the machine'],
  ['/run/desktop/mnt/host/c', pipe, 'is the root of the machine'],
  ['/var/run/docker.sock', undefined, 'is the socket of an engine'],
  ['//var/run/docker.sock', pipe, 'is the socket of an engine'],
  ['/var/run', undefined, 'holds the socket of an engine'],
  ['/proc/self/cwd', undefined, 'leads through a process'],
])('the volume %s is refused', async (source, socket, why) => {
  const problem = await findHostControl({ image: 'x', volumes: [`${source}:/data`] }, 'C:\\catalog', socket);
  expect(problem).toContain(why);
});

test.each([
  ['/srv/data', pipe],
  ['/c/Users', pipe],
  ['./docs', pipe],
  ['/mnt', undefined],
])('the volume %s is not refused', async (source, socket) => {
  const spec = { image: 'x', volumes: [`${source}:/data`] };
  expect(await findHostControl(spec, 'C:\\catalog', socket)).toBeUndefined();
});

test('the settings of docker are those of the profile, whatever a shell has made HOME', () => {
  expect(configFolder({ HOME: 'H:\\', USERPROFILE: 'C:\\Users\\me' })).toBe('C:\\Users\\me\\.docker');
});
