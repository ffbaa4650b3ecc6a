import { expect, test } from 'vitest';
import { TaskWaits } from '../../src/instance/era/task-waits.js';
import type { Response, RpcError } from '../../src/instance/exchanges.js';
import { FakeClock } from '../support/fake-clock.js';

/** A call that waits for its task, which the caller knows nothing of; each question for that is answered by the test. */
function setUp(answerOf: (nth: number) => Record<string, unknown> | RpcError) {
  const clock = new FakeClock();
  const asked: string[] = [];
  const answers: Response[] = [];
  const waits = new TaskWaits({
    clock,
    requestTimeoutMs: 60_000,
    request(method, _params, then) {
      const nth = asked.push(method);
      const answer = answerOf(nth);
      const said = 'code' in answer ? { error: answer as RpcError } : { result: answer };
      then({ jsonrpc: '2.0', id: nth, ...said } as Response);
    },
    ask() {},
    withdraw() {},
    answer: (response) => answers.push(response),
    overdue() {},
  });
  waits.begin(7, 't', true);
  return { clock, asked, answers };
}

const failure = (data: object) => ({ code: 1601, message: 'no', data }) as RpcError;
const cut = failure({ code: 'CONNECTION_FAILED' });

test.each([
  ['is cut', cut],
  ['is answered with 503', failure({ code: 'HTTP_STATUS', status: 503 })],
])('a call goes on although a question for its task %s now and then', async (_, error) => {
  const done = { status: 'completed', result: { content: [] } };
  const { clock, asked, answers } = setUp((nth) => (nth === 11 ? done : nth % 5 === 0 ? { status: 'working' } : error));
  await clock.advance(30_000);
  expect(answers).toMatchObject([{ id: 7, result: { content: [] } }]);
  expect(new Set(asked)).toEqual(new Set(['tasks/get']));
});

test.each([
  ['cannot be asked for again and again', cut, 5],
  ['is at a server that has ended', failure({ code: 'SERVER_EXITED', exit: {} }), 1],
])('a call whose task %s fails, and the task is cancelled', async (_, error, times) => {
  const { clock, asked, answers } = setUp(() => error);
  await clock.advance(30_000);
  expect(answers).toMatchObject([{ id: 7, error: { code: 1601 } }]);
  expect(asked).toEqual([...Array(times).fill('tasks/get'), 'tasks/cancel']);
});

test('a call whose task its server does not know fails, and nothing is cancelled', async () => {
  const { clock, asked, answers } = setUp(() => ({ code: -32602, message: 'no such task' }));
  await clock.advance(30_000);
  expect(answers).toMatchObject([{ id: 7, error: { code: -32602 } }]);
  expect(asked).toEqual(['tasks/get']);
});
