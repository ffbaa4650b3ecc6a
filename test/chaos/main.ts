// npm run chaos -- [--minutes 5] [--seed <number>] [--runtimes local-process,docker]
// [--longest <seconds that an answer may take>] [--library <file>]
import { parseArgs } from 'node:util';
import { createRandom } from '../../src/testing/random.ts';
import { toReport } from './report.ts';
import { type RuntimeName, runtimes, Supervisor } from './supervisor.ts';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '0.3' },
    seed: { type: 'string', default: String(Date.now() % 2 ** 31) },
    runtimes: { type: 'string' },
    // Seconds.
    longest: { type: 'string', default: '120' },
    library: { type: 'string' },
  },
});
const minutes = Number(values.minutes);
if (!(minutes > 0)) {
  throw new Error(`--minutes must be a number above 0, not ${values.minutes}`);
}
const wanted = values.runtimes?.split(',') ?? runtimes.filter(isThere);
const unknown = wanted.filter((name) => !runtimes.includes(name as RuntimeName));
if (unknown.length > 0) {
  throw new Error(`no runtime is named ${unknown.join(', ')}; there are: ${runtimes.join(', ')}`);
}
// The same numbers for the same seed; when what happens is up to the machine.
console.log(`seed ${values.seed}: repeat with --seed ${values.seed}`);
console.log(`runtimes: ${wanted.join(', ')}\n`);
const supervisor = new Supervisor({
  minutes,
  runtimes: wanted as RuntimeName[],
  random: createRandom(Number(values.seed)),
  longestMs: Number(values.longest) * 1_000,
  library: values.library,
});
const { text, isClean } = toReport(await supervisor.run());
console.log(text);
process.exitCode = isClean ? 0 : 1;

function isThere(runtime: RuntimeName): boolean {
  const { TEST_DOCKER, TEST_IMAGE = '', KUBECONFIG = '' } = process.env;
  const missing =
    runtime === 'docker' && (TEST_DOCKER !== '1' || TEST_IMAGE === '')
      ? 'TEST_DOCKER=1 and TEST_IMAGE'
      : runtime.startsWith('k8s-') && (KUBECONFIG === '' || TEST_IMAGE === '')
        ? 'KUBECONFIG and TEST_IMAGE'
        : undefined;
  if (missing !== undefined) console.log(`${runtime} is left out: it needs ${missing}`);
  return missing === undefined;
}
