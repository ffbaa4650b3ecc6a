import { GatewayError } from '../errors.js';
import { withoutMark } from '../util/without-mark.js';
import { bodyRefusals, Refusal } from './refusal.js';
import type { BodyLimits } from './session-options.js';

/** The response to a request, telling when its body has come to its end or the client has left. */
export function watch(response: Response, request: Request, onEnd: (broken: boolean) => void): Response {
  const { body } = response;
  if (body === null) {
    onEnd(false);
    return response;
  }
  let ended = false;
  const end = (broken: boolean) => {
    if (!ended) {
      ended = true;
      // By this the body holds the request: its signal tells of nothing once the request is garbage.
      request.signal.removeEventListener('abort', abort);
      onEnd(broken);
    }
  };
  const reader = body.getReader();
  // A server that has not begun to read the body will not cancel it either.
  const abort = () => {
    end(true);
    reader.cancel().catch(() => {});
  };
  request.signal.addEventListener('abort', abort);
  if (request.signal.aborted) {
    abort();
  }
  const watched = new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) {
          end(false);
          controller.close();
        } else {
          controller.enqueue(value);
        }
      } catch (error) {
        end(false);
        controller.error(error);
      }
    },
    cancel(reason) {
      end(true);
      return reader.cancel(reason);
    },
  });
  return new Response(watched, response);
}

/** Reads a body as JSON. @throws Refusal; `GatewayError` `OPTION_INVALID` for one that was read before */
export async function readBody(request: Request, { maxBodyBytes, bodyTimeoutMs, clock }: BodyLimits): Promise<unknown> {
  if (request.bodyUsed || request.body?.locked === true) {
    throw new GatewayError(
      'OPTION_INVALID',
      'the host has read the body of the request: hand it on unread, or a clone',
    );
  }
  if (Number(request.headers.get('content-length')) > maxBodyBytes) {
    throw bodyRefusals.tooLarge(maxBodyBytes);
  }
  const chunks: Uint8Array[] = [];
  let size = 0;
  let late = false;
  const reader = request.body?.getReader();
  const timer = clock.setTimeout(() => {
    late = true;
    reader?.cancel().catch(() => {});
  }, bodyTimeoutMs);
  try {
    for (let part = await reader?.read(); part?.done === false; part = await reader?.read()) {
      size += part.value.byteLength;
      if (size > maxBodyBytes) {
        throw bodyRefusals.tooLarge(maxBodyBytes);
      }
      chunks.push(part.value);
    }
  } catch (error) {
    throw error instanceof Refusal ? error : bodyRefusals.cutOff();
  } finally {
    clock.clearTimeout(timer);
    reader?.releaseLock();
  }
  if (late) {
    throw bodyRefusals.tooLate();
  }
  try {
    return JSON.parse(withoutMark(Buffer.concat(chunks, size).toString()));
  } catch {
    throw bodyRefusals.notJson();
  }
}

/** The answer to a request that no session gets. */
export function toResponse(refusal: Refusal, request: Request, limits: BodyLimits): Response {
  const { status, headers } = refusal;
  const body = Buffer.from(refusal.body);
  if (request.body === null || request.body.locked || refusal.reason === 'body-timeout') {
    return new Response(body, { status, headers });
  }
  const reader = request.body.getReader();
  return new Response(
    new ReadableStream({
      // The answer is complete for the client, and comes to its end here with the body of the request.
      async start(controller) {
        controller.enqueue(body);
        await discard(reader, limits);
        controller.close();
      },
    }),
    { status, headers: { ...headers, 'content-length': `${body.length}` } },
  );
}

/**
 * Lets the rest of a body come and go for a while: many clients look at the answer only after they have written everything,
 * and a connection that is closed before would hide it from them.
 */
async function discard(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  { bodyTimeoutMs, clock }: BodyLimits,
): Promise<void> {
  const timer = clock.setTimeout(() => void reader.cancel().catch(() => {}), bodyTimeoutMs);
  try {
    while (!(await reader.read()).done) {
      // Nobody wants it.
    }
  } catch {
    // The client stopped by itself.
  } finally {
    clock.clearTimeout(timer);
  }
}
