import assert from 'node:assert/strict';
import { createProcessCount } from '../../docs/examples/quickstart/process-count.ts';

/** A catalog of two servers: one is slow to start, the other one ends when its tool `crash` is called. */
export const catalog = new URL('../../docs/examples/frameworks/catalog.yaml', import.meta.url);

export interface ScriptedCall {
  readonly id: string;
  readonly tool: string;
  readonly args: Readonly<Record<string, unknown>>;
}

/** What a scripted model calls, turn by turn, before it says its last words. */
export const turns: readonly (readonly ScriptedCall[])[] = [
  [
    { id: 'call-1', tool: 'late__echo', args: { text: 'from the slow one' } },
    { id: 'call-2', tool: 'frail__echo', args: { text: 'before the crash' } },
  ],
  [{ id: 'call-3', tool: 'frail__crash', args: {} }],
  [{ id: 'call-4', tool: 'frail__echo', args: { text: 'after the crash' } }],
];

export const lastWords = 'All done.';

/** What a framework let a scripted model see. */
export interface Seen {
  /** The tools that the model may call. */
  readonly tools: readonly string[];
  /** What came of each call, by its id, as text in whatever form the framework gives it. */
  readonly results: ReadonlyMap<string, string>;
}

/** Runs an agent and judges what its model saw, what it said, and what it left behind. */
export async function play(ask: () => Promise<string>, seen: () => Seen): Promise<void> {
  const processes = createProcessCount();
  assert.equal(processes.count(), 0);
  const counting = setInterval(() => processes.count(), 100);
  try {
    assert.equal(await ask(), lastWords);
  } finally {
    clearInterval(counting);
  }
  const { tools, results } = seen();
  const names = ['late', 'frail'].flatMap((server) => ['echo', 'slow', 'crash'].map((tool) => `${server}__${tool}`));
  assert.deepEqual([...tools].sort(), names.sort());
  assert.deepEqual([...results.keys()].sort(), ['call-1', 'call-2', 'call-3', 'call-4']);
  assert.match(results.get('call-1') ?? '', /from the slow one/);
  assert.match(results.get('call-2') ?? '', /before the crash/);
  assert.match(results.get('call-3') ?? '', /frail.*code 3/);
  assert.match(results.get('call-4') ?? '', /after the crash/);
  assert.equal(processes.count(), 0, 'no process is left');
}
