// One library does all the work once, in a process of its own: node --expose-gc work.mjs <library> <build of ours> <server file>
// Prints what it took as one line of JSON.
import { libraries } from './libraries.mjs';

const [, , name = '', build = '', server = ''] = process.argv;
// Nothing but the result may be on stdout.
for (const method of ['log', 'info', 'debug', 'warn']) {
  console[method] = () => {};
}
const importing = performance.now();
const open = await libraries[name](build);
const importMs = performance.now() - importing;

const command = { command: process.execPath, args: [server] };
const named = (count) => Object.fromEntries(Array.from({ length: count }, (_, index) => [`s${index}`, command]));
const text = (bytes) => 'x'.repeat(bytes);

/** What stays in memory, without what the next collection takes. */
async function memory() {
  for (let round = 0; round < 4; round += 1) {
    globalThis.gc();
    await new Promise((resolve) => setImmediate(resolve));
  }
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

/** Opens `count` servers and returns how long it took until their tools were listed. */
async function start(count) {
  const before = performance.now();
  const opened = await open(named(count));
  const ms = performance.now() - before;
  if (opened.tools < count * 3) {
    throw new Error(`${name} lists ${opened.tools} tools of ${count} servers`);
  }
  return { opened, ms };
}

/** Time and CPU of this process for each of `count` calls, `atOnce` of them under way. */
async function calls(opened, atOnce, count, tool, args, expected) {
  let next = 0;
  const work = async () => {
    while (next < count) {
      next += 1;
      await opened.call('s0', tool, args);
    }
  };
  const answer = JSON.stringify(await opened.call('s0', tool, args));
  if (!answer.includes(expected)) {
    throw new Error(`${name} answers ${answer.slice(0, 200)}`);
  }
  const cpu = process.cpuUsage();
  const before = performance.now();
  await Promise.all(Array.from({ length: atOnce }, work));
  const ms = performance.now() - before;
  const { user, system } = process.cpuUsage(cpu);
  return { ms: ms / count, cpuMs: (user + system) / 1000 / count };
}

// What a library makes once, it makes for the first server.
await (await start(1)).opened.close();
const one = await start(1);
const small = { text: text(100) };
// Hosts run for long: until the compiler has done what it does, each of them takes half as much again.
await calls(one.opened, 16, 100_000, 'echo', small, text(100));
const result = { importMs, startOneMs: one.ms, calls: {} };
for (const atOnce of [1, 16, 128]) {
  result.calls[`100 B, ${atOnce} at once`] = await calls(one.opened, atOnce, 20_000, 'echo', small, text(100));
}
const bytes = 1024 * 1024;
await one.opened.call('s0', 'prepare', { bytes });
await calls(one.opened, 1, 10, 'text', { bytes }, text(bytes));
for (const atOnce of [1, 16, 128]) {
  result.calls[`1 MiB, ${atOnce} at once`] = await calls(
    one.opened,
    atOnce,
    Math.max(40, atOnce),
    'text',
    { bytes },
    text(bytes),
  );
}
await one.opened.close();
const ten = await start(10);
result.startTenMs = ten.ms;
// What these ten have made once is not what each more costs.
const before = await memory();
const more = await start(20);
result.bytesEach = ((await memory()) - before) / 20;
await Promise.all([ten, more].map(({ opened }) => opened.close()));
process.stdout.write(`${JSON.stringify(result)}\n`);
process.exit(0);
