import type { Chance } from '../../gateway/model/chance.js';

/** What an engine, or who stands before it, does with a call. */
export type Fault =
  | 'none'
  | 'late'
  | 'cut before'
  | 'cut after'
  | 'done later'
  | 'refused'
  | 'failed after'
  | 'broken answer'
  | 'silent before'
  | 'silent after';

const faults: readonly (readonly [number, Fault])[] = [
  [6, 'late'],
  [3, 'cut before'],
  [3, 'cut after'],
  [3, 'refused'],
  [2, 'failed after'],
  [2, 'broken answer'],
  [1, 'silent before'],
  [1, 'silent after'],
  [2, 'done later'],
];

export function chooseFault(chance: Chance, badness: number): Fault {
  return chance.below(100) < badness ? chance.weigh(faults) : 'none';
}

/** Bodies of refusals: of engines, of proxies, of nobody. */
const bodies = [
  '{"message":"played refusal"}',
  '{"message":""}',
  '{"message":{"no":"text"}}',
  '<html><body><h1>502 Bad Gateway</h1></body></html>',
  'null',
  '[]',
  '',
  '{"message":"cut off',
  '\u0000\u001b[31m',
] as const;

export function chooseRefusal(chance: Chance, call: string): { status: number; body: string } {
  const status = chance.one([409, 500, 503, 500, 503, 429]);
  // That something is not there is what an engine says only when it is true.
  const said = call === 'create' && chance.oneIn(4) ? '{"message":"No such image: image"}' : chance.one(bodies);
  return said.includes('No such image') ? { status: 404, body: said } : { status, body: said };
}
