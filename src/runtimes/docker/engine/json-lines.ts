import type { IncomingMessage } from 'node:http';
import { LineBuffer } from '../../../transport/line-buffer.js';
import { isFields } from '../../../util/fields.js';
import { EngineError } from './engine.js';

const maxLineBytes = 1024 * 1024;

/** The objects of a body that holds one in each line, as they come. Ends with the body, or with the signal. */
export async function* readJsonLines(message: IncomingMessage, signal: AbortSignal): AsyncGenerator<object> {
  const lines = new LineBuffer(maxLineBytes);
  const abort = () => message.destroy();
  signal.addEventListener('abort', abort, { once: true });
  if (signal.aborted) {
    abort();
  }
  try {
    for await (const chunk of message) {
      lines.feed(chunk as Buffer);
      for (let line = lines.next(); line !== undefined; line = lines.next()) {
        if (line.trim() !== '') {
          yield parse(line);
        }
      }
    }
    // Podman ends its events without a newline.
    lines.feed(Buffer.from('\n'));
    const last = lines.next()?.trim();
    if (last !== undefined && last !== '') {
      yield parse(last);
    }
  } catch (cause) {
    signal.throwIfAborted();
    throw new EngineError('the engine broke off its report', { cause });
  } finally {
    signal.removeEventListener('abort', abort);
    message.destroy();
  }
  signal.throwIfAborted();
}

function parse(line: string): object {
  const value: unknown = JSON.parse(line);
  if (isFields(value)) return value;
  throw new TypeError('what is no object');
}
