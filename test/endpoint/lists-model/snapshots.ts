import { allListKinds, listKinds } from '../../../src/endpoint/list-kinds.js';
import { createGateway, type GatewaySnapshot } from '../../../src/index.js';
import type { Chance } from '../../gateway/model/chance.js';
import type { Json } from '../scripted-server.js';
import { ScriptedRuntime } from '../setup.js';
import { type Catalog, serverIds } from './catalog.js';
import { type Content, createContent, markOf } from './content.js';
import type { Played } from './played.js';

/** What such items say of themselves: shown only while the first entry of their server is there, or never. */
export const ofBefore = 'before';
export const ofNobody = 'nobody';

const rubbish: Json[] = [{}, { name: 5, uri: 5, uriTemplate: 5 }, { name: null }];

/** What a host gives of another run: right, stale, of other entries, or of no shape that a server would give. */
export function createSnapshot(catalog: Catalog, played: Played, chance: Chance): GatewaySnapshot {
  const runtimes = [new ScriptedRuntime(Object.fromEntries(played.servers))];
  // It starts nothing, and says what another one would.
  const gateway = createGateway(catalog.input() as never, { runtimes });
  const own = serverIds
    .filter(() => chance.oneIn(2))
    .map((id) => {
      const { fingerprint } = gateway.describe(id);
      const stale = marked(createContent(id, chance), ofBefore);
      const content = chance.one<() => [string, Content, Json[]]>([
        () => [fingerprint, played.nextOf(id), []],
        () => [fingerprint, stale, []],
        () => [fingerprint, stale, rubbish],
        () => [`${fingerprint}0`, marked(stale, ofNobody), []],
      ])();
      return [id, toSnapshot(...content)] as const;
    });
  const other = toSnapshot('another', marked(createContent('gone', chance), ofNobody), rubbish);
  return Object.fromEntries([...own, ['gone', other], ['__proto__', other]]) as unknown as GatewaySnapshot;
}

function toSnapshot(fingerprint: string, { declared, items }: Content, more: readonly Json[]): Json {
  const kinds = allListKinds.filter((kind) => declared[listKinds[kind].capability] !== undefined);
  return {
    fingerprint,
    capabilities: declared,
    lists: {
      ...Object.fromEntries(kinds.map((kind) => [kind, [...items[kind], ...more]])),
      novelties: [{ name: 'x' }],
    },
  };
}

function marked(content: Content, make: string): Content {
  const items = allListKinds.map((kind) => [
    kind,
    content.items[kind].map((item) => ({ ...item, _meta: { ...markOf(item), make } })),
  ]);
  return { ...content, items: Object.fromEntries(items) };
}
