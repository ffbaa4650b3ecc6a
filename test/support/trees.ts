import { fileURLToPath } from 'node:url';
import type { LocalProcessSpec } from '../../src/runtimes/local-process.js';

export const serverPath = (name: string) => fileURLToPath(new URL(`../fixtures/servers/${name}.mjs`, import.meta.url));

const echo = serverPath('echo');
const shell = (script: string): LocalProcessSpec => ({ command: '/bin/sh', args: ['-c', script] });
const node = (...args: string[]): LocalProcessSpec => ({ command: process.execPath, args });

/** Servers that are hard to end, cheap ones of the shell. */
export const shellTrees: Readonly<Record<string, LocalProcessSpec>> = {
  'sh -c with a server that ends at end of input': shell('cat >/dev/null; :'),
  'a server that has ended, with a child that holds stdout': shell('sleep 1000 & exit 0'),
  'a child that ignores SIGTERM': shell("(trap '' TERM; exec sleep 1000) & cat >/dev/null; exit 0"),
  'a server that ignores SIGTERM': shell("trap '' TERM; cat >/dev/null; sleep 1000"),
  'a server that ignores end of input': shell('while :; do sleep 1000; done'),
  'a server that ignores both, and stops nothing': shell("trap '' TERM; while :; do sleep 1; done"),
  'a child without any of our streams': shell("(trap '' TERM; exec sleep 1000) </dev/null >/dev/null 2>&1 & exec cat"),
};

/** The same with Node. */
export const nodeTrees: Readonly<Record<string, LocalProcessSpec>> = {
  'sh -c with a Node server': shell(`"${process.execPath}" "${echo}"; :`),
  'a Node wrapper': node(serverPath('wrapper'), echo),
  'a Node wrapper around a server that ignores both': node(serverPath('wrapper'), echo, 'ignore-term', 'ignore-eof'),
  'wrappers around wrappers': shell(`"${process.execPath}" "${serverPath('wrapper')}" "${echo}" ignore-eof; :`),
};
