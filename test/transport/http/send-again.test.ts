import { expect, test } from 'vitest';
import type { Exchange } from '../../../src/transport/http/exchange.js';
import type { OpenRequest } from '../../../src/transport/http/open-request.js';
import { sendAgain } from '../../../src/transport/http/send-again.js';

const sent = {} as Exchange;

/** @param learn - gives the cursor of the next page @param isKnown - after so many pages */
async function play(learn: (cursor: unknown) => unknown, isKnown: number, overAfter = Number.POSITIVE_INFINITY) {
  const asked: unknown[] = [];
  const open = {
    get over() {
      return asked.length >= overAfter;
    },
  } as OpenRequest;
  const result = await sendAgain(
    open,
    () => (asked.length >= isKnown ? sent : undefined),
    async (cursor) => {
      asked.push(cursor);
      return learn(cursor);
    },
  );
  return { result, asked };
}

test('a call goes again as soon as a page gives it other headers', async () => {
  expect(await play(() => 'more', 0)).toEqual({ result: sent, asked: [] });
  expect(await play((cursor) => `${cursor ?? ''}x`, 3)).toEqual({ result: sent, asked: [undefined, 'x', 'xx'] });
});

test('a list of tools ends with its last page, and with a cursor that comes again', async () => {
  const never = Number.POSITIVE_INFINITY;
  expect(await play(() => undefined, never)).toEqual({ result: undefined, asked: [undefined] });
  expect(await play(() => 'a', never)).toEqual({ result: undefined, asked: [undefined, 'a'] });
  expect(await play(() => null, never)).toEqual({ result: undefined, asked: [undefined] });
  expect(await play(() => '', never)).toEqual({ result: undefined, asked: [undefined, ''] });
});

test('no page is asked for when nobody waits any more, nor after a thousand', async () => {
  const never = Number.POSITIVE_INFINITY;
  expect((await play((cursor) => `${cursor}x`, never, 2)).asked).toHaveLength(2);
  let page = 0;
  expect((await play(() => ++page, never)).asked).toHaveLength(1_000);
});

test('a call that nobody waits for any more is not sent again, though its headers are known by now', async () => {
  expect(await play(() => undefined, 1, 1)).toEqual({ result: undefined, asked: [undefined] });
  expect(await play(() => undefined, 0, 0)).toEqual({ result: undefined, asked: [] });
});
