import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { describe, expect, test } from 'vitest';
import { createProcessCount } from '../../docs/examples/quickstart/process-count.js';
import { formatTable } from '../../docs/examples/quickstart/table.js';
import { runExample } from './run-example.js';

describe('the quickstart', () => {
  test('starts or reaches six servers, calls each, and leaves no process and no session behind', async () => {
    const { code, stdout, stderr } = await runExample('quickstart/main.ts');
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });

    const [head = '', , ...lines] = stdout.split('\n');
    expect(head.split(/ {2,}/)).toEqual(['server', 'name', 'phase', 'started in', 'tools']);
    const rows = lines.slice(0, lines.indexOf('')).map((line) => line.split(/ {2,}/));
    expect(rows.map(([server, , phase]) => [server, phase])).toEqual([
      ['everything', 'ready'],
      ['files', 'ready'],
      ['memory', 'ready'],
      ['units', 'ready'],
      ['words', 'ready'],
      ['clock', 'ready'],
    ]);
    for (const [, , , started, tools] of rows) {
      expect(started).toMatch(/^\d+ ms$/);
      expect(Number(tools)).toBeGreaterThan(0);
    }

    expect(stdout).toContain('everything echo answers:\n  Echo: hello\n');
    expect(stdout).toContain('files read_text_file answers:\n  Hello from a file.\n');
    expect(stdout).toMatch(/memory create_entities answers:\n[\s\S]*"runs MCP servers"/);
    expect(stdout).toContain('units fahrenheit answers:\n  104\n');
    expect(stdout).toContain('words count answers:\n  5\n');
    expect(stdout).toContain('clock year answers:\n  2026\n');

    // Three servers at least: without them, the count after closing would say nothing.
    expect(
      Number(/^(\d+) processes run now, 2 sessions over HTTP are open$/m.exec(stdout)?.[1]),
    ).toBeGreaterThanOrEqual(3);
    expect(stdout).toMatch(/^0 sessions over HTTP left$/m);
    expect(stdout).toMatch(/^0 processes left after \d+\.\d s\n$/m);
  });
});

describe('the count of processes', () => {
  test('sees a child, and no longer once it has ended', async () => {
    const processes = createProcessCount();
    const before = processes.count();
    const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'inherit'] });
    await once(child, 'spawn');
    expect(processes.count()).toBe(before + 1);
    const closed = once(child, 'close');
    child.stdin.end();
    await closed;
    expect(processes.count()).toBe(before);
  });

  test('still sees a grandchild whose parent has ended', async () => {
    const processes = createProcessCount();
    const before = processes.count();
    // The grandchild says its id, so it is there; then the shell waits for a line and ends.
    const child = spawn('sh', ['-c', 'sleep 600 >/dev/null 2>&1 & echo $!; read line'], {
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    const [id] = (await once(child.stdout, 'data')) as [Buffer];
    try {
      expect(processes.count()).toBe(before + 2);
      const closed = once(child, 'close');
      child.stdin.end('\n');
      await closed;
      expect(processes.count()).toBe(before + 1);
    } finally {
      process.kill(Number(String(id)), 'SIGKILL');
    }
  });

  test.skipIf(spawnSync('ps', ['-A']).status !== 0)('sees the same with ps, where there is no /proc', async () => {
    const child = spawn(process.execPath, ['-e', 'process.stdin.resume()'], { stdio: ['pipe', 'ignore', 'inherit'] });
    await once(child, 'spawn');
    try {
      expect(createProcessCount('ps').count()).toBe(createProcessCount().count());
    } finally {
      const closed = once(child, 'close');
      child.stdin.end();
      await closed;
    }
  });
});

test('a table is as wide as its widest cells', () => {
  expect(
    formatTable(
      ['a', 'name'],
      [
        ['long', 'x'],
        ['b', 'longer'],
      ],
    ),
  ).toBe(['a     name', '----  ------', 'long  x', 'b     longer'].join('\n'));
});
