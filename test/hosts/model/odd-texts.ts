import { createChance } from '../../gateway/model/chance.js';

/** A text that may be long, may have to be escaped, may not be ASCII: the same for the same number. */
export function textOf(number: number): string {
  const chance = createChance(number);
  const piece = chance.weigh([
    [8, ''],
    [2, 'plain'],
    [1, 'Grüße 🚀 '],
    [1, '"quoted\\" {"result":{}} '],
    [1, '\n\r\u2028\u0000\ud800'],
  ]);
  // A batch of them fits into one body; the longer ones are read apart from what is around them.
  return piece.repeat(Math.ceil(chance.one([1, 100, 5_000, 12_000]) / (piece.length || 1)));
}
