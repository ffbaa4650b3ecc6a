import type { Json } from '../../endpoint/scripted-server.js';

/** The messages of a response, one by one. */
export async function* readMessages(response: Response): AsyncGenerator<Json> {
  if (response.headers.get('content-type')?.startsWith('application/json')) {
    yield JSON.parse(await response.text()) as Json;
    return;
  }
  let rest = '';
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    rest += decoder.decode(chunk as Uint8Array, { stream: true });
    const events = rest.split('\n\n');
    rest = events.pop() as string;
    for (const event of events) {
      const data = event.split('\n').find((line) => line.startsWith('data: '));
      if (data !== undefined) {
        yield JSON.parse(data.slice('data: '.length)) as Json;
      }
    }
  }
}
