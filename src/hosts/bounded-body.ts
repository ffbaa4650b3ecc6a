import { mostUnreadBytes } from '../endpoint/http/event-response.js';

/** The response, whose body is read as it comes: a source that knows no back-pressure would keep all that its client leaves unread. */
export function bounded(response: Response): Response {
  const { body } = response;
  if (body === null) {
    return response;
  }
  const reader = body.getReader();
  const held = new ReadableStream<Uint8Array>(
    {
      start(controller) {
        void pump(reader, controller);
      },
      cancel: (reason) => reader.cancel(reason),
    },
    new ByteLengthQueuingStrategy({ highWaterMark: 64 * 1024 }),
  );
  return new Response(held, response);
}

async function pump(
  reader: ReadableStreamDefaultReader<Uint8Array>,
  controller: ReadableStreamDefaultController<Uint8Array>,
): Promise<void> {
  try {
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      // One that is larger by itself is no fault of the client.
      if (Number(controller.desiredSize) < -mostUnreadBytes) {
        throw new Error(`the client left ${mostUnreadBytes} bytes unread`);
      }
      controller.enqueue(part.value);
    }
    controller.close();
  } catch (error) {
    controller.error(error);
    reader.cancel().catch(() => {});
  }
}
