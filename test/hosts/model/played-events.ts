import type { EventStore } from '@modelcontextprotocol/sdk/server/streamableHttp.js';
import type { JSONRPCMessage } from '@modelcontextprotocol/sdk/types.js';

interface Stored {
  readonly id: string;
  readonly store: EventStore;
  readonly streamId: string;
  readonly message: JSONRPCMessage;
}

/** What transports of the SDK keep for clients that come back. No two sessions have an id in common. */
export class PlayedEvents {
  readonly #all: Stored[] = [];

  /** The events of one session. */
  createStore(): EventStore {
    const store: EventStore = {
      storeEvent: async (streamId, message) => {
        const id = String(this.#all.length + 1);
        this.#all.push({ id, store, streamId, message });
        return id;
      },
      getStreamIdForEventId: async (id) => (this.#find(id)?.store === store ? this.#find(id)?.streamId : undefined),
      replayEventsAfter: async (lastId, { send }) => {
        for (const { id, message } of this.#after(lastId)) {
          await send(id, message);
        }
        return this.#find(lastId)?.streamId as string;
      },
    };
    return store;
  }

  /** The ids of what came behind an event in its stream. */
  after(id: string): string[] {
    return this.#after(id).map((event) => event.id);
  }

  #find(id: string): Stored | undefined {
    return this.#all[Number(id) - 1];
  }

  #after(lastId: string): Stored[] {
    const last = this.#find(lastId);
    // What opens a stream for clients that come back is no message.
    return this.#all
      .slice(Number(lastId))
      .filter((each) => each.store === last?.store && each.streamId === last.streamId && 'jsonrpc' in each.message);
  }
}
