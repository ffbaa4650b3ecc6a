import { describe, test } from 'vitest';
import { LocalProcessRuntime } from '../../src/runtimes/local-process.js';
import { referenceServerPath, runtimeContract } from '../../src/testing/index.js';

describe('local-process', () => {
  runtimeContract(test, {
    create: () => new LocalProcessRuntime(),
    working: (args) => ({ command: process.execPath, args: [referenceServerPath(), ...args] }),
    broken: () => ({ command: 'no-such-program' }),
    guardMs: 120_000,
  });
});
