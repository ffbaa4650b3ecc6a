import { test } from 'node:test';
import { setTracingDisabled } from '@openai/agents';
import { assistantMessage, functionCall, ScriptedModel } from '@openai/agents/testing';
import { catalog, lastWords, play, turns } from '../../../../test/frameworks/scenario.ts';
import { ask } from './agent.ts';

test('an agent of the OpenAI Agents SDK', async () => {
  setTracingDisabled(true); // Traces would go to the vendor.
  const model = new ScriptedModel([
    ...turns.map((calls) => calls.map(({ id, tool, args }) => functionCall(tool, { ...args }, { callId: id }))),
    [assistantMessage(lastWords)],
  ]);

  await play(
    () => ask(model, 'Call some tools.', catalog),
    () => {
      const { input = [], tools = [] } = model.lastCall?.request ?? {};
      const results = typeof input === 'string' ? [] : input.filter((item) => item.type === 'function_call_result');
      return {
        tools: tools.map(({ name }) => name),
        results: new Map(results.map(({ callId, output }) => [callId, JSON.stringify(output)])),
      };
    },
  );
});
