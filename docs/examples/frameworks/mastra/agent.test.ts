import { test } from 'node:test';
import { MastraLanguageModelV2Mock } from '@mastra/core/test-utils/llm-mock';
import { catalog, lastWords, play, turns } from '../../../../test/frameworks/scenario.ts';
import { ask } from './agent.ts';

const usage = { inputTokens: 1, outputTokens: 1, totalTokens: 2 };

test('an agent of Mastra', async () => {
  let turn = 0;
  const model = new MastraLanguageModelV2Mock({
    doGenerate: async () => {
      const calls = turns[turn++];
      const content =
        calls === undefined
          ? [{ type: 'text' as const, text: lastWords }]
          : calls.map(({ id, tool, args }) => ({
              type: 'tool-call' as const,
              toolCallId: id,
              toolName: tool,
              input: JSON.stringify(args),
            }));
      return { content, finishReason: calls === undefined ? 'stop' : 'tool-calls', usage, warnings: [] };
    },
  });

  await play(
    () => ask(model, 'Call some tools.', catalog),
    () => {
      const { prompt = [], tools = [] } = model.doGenerateCalls.at(-1) ?? {};
      const results = prompt
        .flatMap((message) => (message.role === 'tool' ? message.content : []))
        .filter((part) => part.type === 'tool-result');
      return {
        tools: tools.map(({ name }) => name),
        results: new Map(results.map(({ toolCallId, output }) => [toolCallId, JSON.stringify(output)])),
      };
    },
  );
});
