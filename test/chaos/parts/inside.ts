import type { Part } from './part.ts';

/** The entry in the host itself. */
export const insideId = 'inside';

/** @param endAll - ends the servers within the hosts */
export async function createInsidePart(endAll: () => void): Promise<Part> {
  return {
    runtime: 'in-process',
    env: {},
    servers: [],
    faults: { 'servers in hosts ended': endAll },
    left: async () => ({}),
    async [Symbol.asyncDispose]() {},
  };
}
