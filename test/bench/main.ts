// npm run bench -- [large-messages] [round-trips] [starts] [merged-calls] [merged-costs] [eras] [host] [http] [k8s-job]
// [k8s-service] [supervision] [floods] [docker] [reload] [import] [peers] [--full] [--write] [--library <file>]
import { EventEmitter } from 'node:events';
import { parseArgs } from 'node:util';
import { dockerServers } from './docker.ts';
import { eraCalls } from './era-calls.ts';
import { floods } from './floods.ts';
import { hostCalls } from './host-calls.ts';
import { httpCalls } from './http-calls.ts';
import { importTime } from './import-time.ts';
import { k8sJobCalls } from './k8s-job-calls.ts';
import { k8sServiceCalls } from './k8s-service-calls.ts';
import { largeMessages } from './large-messages.ts';
import { type Library, loadLibrary } from './library.ts';
import { mergedCalls } from './merged-calls.ts';
import { mergedCosts } from './merged-costs.ts';
import { machine, writeFigures } from './page.ts';
import { peers } from './peers.ts';
import { reload } from './reload.ts';
import { type Row, toTable } from './report.ts';
import { roundTrips } from './round-trips.ts';
import { starts } from './starts.ts';
import { supervision } from './supervision.ts';

interface Options {
  readonly full: boolean;
  readonly library?: string | undefined;
}

const groups: Record<string, (library: Library, options: Options) => Promise<Row[]>> = {
  'large-messages': largeMessages,
  'round-trips': roundTrips,
  starts,
  'merged-calls': mergedCalls,
  'merged-costs': mergedCosts,
  eras: eraCalls,
  host: hostCalls,
  http: httpCalls,
  'k8s-job': k8sJobCalls,
  'k8s-service': k8sServiceCalls,
  supervision,
  floods,
  docker: dockerServers,
  reload,
  import: importTime,
  peers,
};
// Installs what it compares with, which takes long: only when it is named.
const onlyNamed = new Set(['peers']);

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    full: { type: 'boolean', default: false },
    // Puts the figures into docs/benchmarks.md, and their charts beside it.
    write: { type: 'boolean', default: false },
    library: { type: 'string' },
  },
});
const unknown = positionals.filter((name) => !(name in groups));
if (unknown.length > 0) {
  throw new Error(`no group is named ${unknown.join(', ')}; there are: ${Object.keys(groups).join(', ')}`);
}
// The SDK's transports add a listener for each send that waits; warnings about that would be measured as theirs.
EventEmitter.defaultMaxListeners = 0;
const library = await loadLibrary(values.library);
const rows: Row[] = [];
for (const [name, measure] of Object.entries(groups)) {
  if (positionals.includes(name) || (positionals.length === 0 && !onlyNamed.has(name))) {
    console.error(`measuring ${name} …`);
    const measured = await measure(library, values);
    rows.push(...measured);
    if (values.write) {
      await writeFigures(name, measured);
    }
  }
}
console.log(`${machine()}\n`);
console.log(toTable(rows));
