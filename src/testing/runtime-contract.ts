import type { RuntimeFactory } from '../runtime.js';
import { closingCases } from './closing-cases.js';
import { type ContractCase, type RuntimeContractOptions, Scene } from './contract-case.js';
import { factoryCases } from './factory-cases.js';
import { messageCases } from './message-cases.js';
import { openingCases } from './opening-cases.js';
import { sendingCases } from './sending-cases.js';

/** What registers a case with a test runner: `test` of vitest, Jest or `node:test`. */
export type ContractTest = (name: string, body: () => Promise<void>) => unknown;

const cases = [...openingCases, ...closingCases, ...sendingCases, ...messageCases, ...factoryCases];

/**
 * Registers the cases that every runtime passes: the rules of the runtime contract, each in several ways, against real
 * servers of the runtime.
 *
 * Cases for what the factory's `supports` denies are left out, as are those for methods that it does not have.
 *
 * @example
 * ```ts
 * import { test } from 'node:test';
 * import { referenceServerPath, runtimeContract } from 'open-mcp-gateway/testing';
 *
 * runtimeContract(test, {
 *   create: () => new MyRuntime(),
 *   working: (args) => ({ command: process.execPath, args: [referenceServerPath(), ...args] }),
 *   broken: () => ({ command: 'no-such-program' }),
 * });
 * ```
 */
export function runtimeContract<Spec>(test: ContractTest, options: RuntimeContractOptions<Spec>): void {
  // Methods are compared bivariantly, so this is a change of name only.
  const anyOptions: RuntimeContractOptions<unknown> = options;
  const factory = anyOptions.create();
  for (const contractCase of cases) {
    if (fits(contractCase, factory)) test(contractCase.name, () => runCase(contractCase, anyOptions));
  }
  // It was only asked what it supports, but whoever creates a thing closes it.
  void factory.close?.().catch(() => {});
}

function fits({ needs }: ContractCase, factory: RuntimeFactory): boolean {
  switch (needs) {
    case undefined:
      return true;
    case 'check':
    case 'describe':
      return factory[needs] !== undefined;
    default:
      return factory.supports?.[needs] !== false;
  }
}

async function runCase({ run }: ContractCase, options: RuntimeContractOptions<unknown>): Promise<void> {
  const scene = await Scene.set(options);
  try {
    await run(scene);
  } catch (error) {
    // The first failure is the one to read; what closing says after it is a consequence.
    await scene[Symbol.asyncDispose]().catch(() => {});
    throw error;
  }
  await scene[Symbol.asyncDispose]();
}
