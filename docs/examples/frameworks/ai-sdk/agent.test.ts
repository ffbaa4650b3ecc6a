import { test } from 'node:test';
import { MockLanguageModelV4 } from 'ai/test';
import { catalog, lastWords, play, turns } from '../../../../test/frameworks/scenario.ts';
import { ask } from './agent.ts';

const usage = {
  inputTokens: { total: 1, noCache: 1, cacheRead: 0, cacheWrite: 0 },
  outputTokens: { total: 1, text: 1, reasoning: 0 },
};

test('an agent of the AI SDK', async () => {
  let turn = 0;
  const model = new MockLanguageModelV4({
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
      const unified = calls === undefined ? ('stop' as const) : ('tool-calls' as const);
      return { content, finishReason: { unified, raw: unified }, usage, warnings: [] };
    },
  });

  await play(
    () => ask(model, 'Call some tools.', catalog),
    () => {
      const { prompt = [], tools = [] } = model.doGenerateCalls.at(-1) ?? {};
      const results = prompt
        .flatMap((message) => (message.role === 'tool' ? message.content : []))
        .flatMap((part) => (part.type === 'tool-result' ? [part] : []));
      return {
        tools: tools.map(({ name }) => name),
        results: new Map(results.map(({ toolCallId, output }) => [toolCallId, JSON.stringify(output)])),
      };
    },
  );
});
