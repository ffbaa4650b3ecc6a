import { test } from 'node:test';
import { AIMessage, ToolMessage } from '@langchain/core/messages';
import { FakeBuiltModel } from '@langchain/core/testing';
import { catalog, lastWords, play, turns } from '../../../../test/frameworks/scenario.ts';
import { ask } from './agent.ts';

test('an agent of LangChain', async () => {
  let bound: readonly { readonly name?: unknown }[] = [];
  class Model extends FakeBuiltModel {
    override bindTools(tools: Parameters<FakeBuiltModel['bindTools']>[0]) {
      bound = tools as typeof bound;
      return super.bindTools(tools);
    }
  }
  const model = new Model();
  for (const calls of turns) {
    model.respondWithTools(calls.map(({ id, tool, args }) => ({ id, name: tool, args: { ...args } })));
  }
  model.respond(new AIMessage(lastWords));

  await play(
    () => ask(model, 'Call some tools.', catalog),
    () => {
      const results = (model.calls.at(-1)?.messages ?? []).filter((message) => ToolMessage.isInstance(message));
      return {
        tools: bound.map(({ name }) => String(name)),
        results: new Map(results.map(({ tool_call_id: id, content }) => [id, JSON.stringify(content)])),
      };
    },
  );
});
