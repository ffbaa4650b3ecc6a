import type { EventStore } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';

interface Stored {
  readonly id: string;
  readonly streamId: string;
  readonly message: JSONRPCMessage;
}

let next = 1;

/** The events of one session, for a transport of the SDK. No two sessions have an id in common. */
export class PlayedEventStore implements EventStore {
  readonly #events: Stored[] = [];

  async storeEvent(streamId: string, message: JSONRPCMessage): Promise<string> {
    const id = String(next++);
    this.#events.push({ id, streamId, message });
    return id;
  }

  async getStreamIdForEventId(id: string): Promise<string | undefined> {
    return this.#events.find((event) => event.id === id)?.streamId;
  }

  async replayEventsAfter(
    lastId: string,
    { send }: { send(id: string, message: JSONRPCMessage): Promise<void> },
  ): Promise<string> {
    const last = this.#events.find(({ id }) => id === lastId) as Stored;
    const missed = this.#events.slice(this.#events.indexOf(last) + 1);
    for (const { id, message } of missed.filter(({ streamId }) => streamId === last.streamId)) {
      // What opens a stream for clients that come back is no message.
      'jsonrpc' in message && (await send(id, message));
    }
    return last.streamId;
  }
}
