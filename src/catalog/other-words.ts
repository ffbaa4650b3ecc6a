import { isPlainObject } from '../util/fields.js';
import { envelopeSchema } from './envelope.js';

// What belongs to a runtime, and stands beside the id in files of other programs.
const runtimeKeys = [
  'type',
  'command',
  'args',
  'working_dir',
  'cwd',
  'url',
  'headers',
  'transport',
  'image',
  'volumes',
];

const runtimeTypes: ReadonlyMap<string, string> = new Map([
  ['stdio', 'local-process'],
  ['http', 'remote-sse'],
  ['sse', 'remote-sse'],
  ['streamable-http', 'remote-sse'],
  ['streamablehttp', 'remote-sse'],
]);

/** Where a list of servers belongs, and something else stands. */
export const otherPrograms = ': toCatalog() makes a catalog of what is written for other programs';

/** What is wrong with a key of an entry that other programs know; undefined for all others. */
export function explainKey(key: PropertyKey | undefined): string | undefined {
  if (key === 'timeout') {
    return 'is not a known key; did you mean "request_timeout"?';
  }
  return runtimeKeys.includes(String(key)) ? 'is not a known key here: it belongs into "runtime"' : undefined;
}

/** What is wrong with a key of an entry that stands among those of its runtime; undefined for all others. */
export function explainRuntimeKey(key: PropertyKey): string | undefined {
  const known = Object.hasOwn(envelopeSchema.entries, String(key));
  return known ? 'is not a known key here: it belongs beside "runtime"' : undefined;
}

/** What to do about servers that are no list. */
export function listOf(servers: Readonly<Record<string, unknown>>): string {
  const ours = [servers, ...Object.values(servers)].some((server) => isPlainObject(server) && 'runtime' in server);
  return ours ? ': begin each with "- id:", or in JSON write [{ "id": … }]' : otherPrograms;
}

/** The type of runtime that other programs call so. */
export function meantType(type: string): string | undefined {
  return runtimeTypes.get(type.toLowerCase());
}
