import type { Json } from '../../endpoint/scripted-server.js';
import type { Exchange } from './clients.js';
import type { Reader } from './http-line.js';
import type { Judge } from './judge.js';

export interface ResponseOptions {
  readonly judge: Judge;
  ended(): void;
}

/** Reads a response, as JSON or as events, and has the judge look at each message. */
export function readResponse(exchange: Exchange, { judge, ended }: ResponseOptions): Reader {
  let isEvents = false;
  let isJson = false;
  let rest = '';
  let last = '';
  const take = (text: string) => {
    try {
      const json = Buffer.from(text, 'latin1').toString();
      judge.received(exchange, JSON.parse(json) as Json, json.slice(0, 1_000));
    } catch (error) {
      judge.problem(`${exchange.number} holds no message: ${text.slice(0, 200)} (${String(error)})`);
    }
  };
  const event = (text: string) => {
    const lines = text.split('\n');
    const id = lines.find((line) => line.startsWith('id: '))?.slice('id: '.length);
    id !== undefined && judge.gotEvent(exchange, id);
    const data = lines.find((line) => line.startsWith('data:'))?.slice('data:'.length) ?? '';
    // Comments keep a stream alive, and the first event may hold nothing but its id.
    data.trim() !== '' && take(data);
  };
  return {
    head(status, headers) {
      exchange.status = status;
      isJson = headers.get('content-type')?.startsWith('application/json') === true;
      isEvents = headers.get('content-type') === 'text/event-stream';
      const { client, sent } = exchange;
      if (sent[0]?.method === 'initialize' && status === 200) {
        client.session = headers.get('mcp-session-id');
      }
    },
    data(text) {
      if (exchange.end === 'left') {
        return;
      }
      // Not of what has come: a long text would be put together anew for each part.
      const hasEvent = `${last}${text}`.includes('\n\n');
      rest += text;
      last = text.at(-1) ?? last;
      if (isEvents && hasEvent) {
        const events = rest.split('\n\n');
        rest = events.pop() as string;
        events.forEach(event);
      }
    },
    end(how) {
      if (exchange.end === 'left') {
        return;
      }
      exchange.end = how;
      // The adapter writes why a body has failed, and may then end the response in good form.
      const isGivenUp = isEvents && exchange.mayBeCut && rest.startsWith('Error: the client left ');
      if (how === 'clean' && rest !== '' && !isGivenUp) {
        if (isEvents) {
          judge.problem(`${exchange.number} ends in the middle of an event: ${rest.slice(0, 200)}`);
        } else if (isJson && (exchange.status === 200 || (JSON.parse(rest) as Json).id !== null)) {
          // A refusal has no id: its status says what it is.
          take(rest);
        }
      }
      ended();
    },
  };
}
