import { setImmediate } from 'node:timers/promises';
import { describe, test } from 'vitest';
import { InProcessRuntime } from '../../src/runtimes/in-process.js';
import { createReferenceServer, runtimeContract } from '../../src/testing/index.js';

describe('in-process', () => {
  runtimeContract(test, {
    create: () => new InProcessRuntime(),
    working: (args) => ({
      server: async (context) => {
        await setImmediate();
        return createReferenceServer(args, context.env);
      },
    }),
    broken: () => ({ server: () => Promise.reject(new Error('no such database')) }),
  });
});
