import type { Json } from '../../endpoint/scripted-server.js';
import type { Chance } from './chance.js';

/** What a server asks its caller, with a number that nothing else has. */
export function toQuestion(number: number, chance: Chance): Json {
  const _meta = { q: number };
  if (chance.oneIn(4)) {
    return { method: 'roots/list', params: { _meta } };
  }
  return chance.oneIn(2)
    ? {
        method: 'elicitation/create',
        params: { message: 'who?', requestedSchema: { type: 'object', properties: {} }, _meta },
      }
    : { method: 'sampling/createMessage', params: { messages: [], maxTokens: 1, _meta } };
}
