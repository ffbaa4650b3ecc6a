import * as v from 'valibot';
import { describe, expectTypeOf, test } from 'vitest';
import type { Catalog, CatalogInput, RuntimeInput, RuntimeInputOf, ServerInput } from '../../src/catalog/catalog.js';
import type { envelopeSchema } from '../../src/catalog/envelope.js';
import type { GatewayErrorCode } from '../../src/errors.js';
import { createGateway } from '../../src/gateway.js';
import type { Gateway } from '../../src/gateway-api.js';
import type { GatewayCatalog, GatewayServer } from '../../src/gateway-catalog.js';
import type { ServerStatus } from '../../src/index.js';
import type { RuntimeFactory } from '../../src/runtime.js';
import { InProcessRuntime, type InProcessServer, type InProcessSpec } from '../../src/runtimes/in-process.js';
import { RemoteSseRuntime } from '../../src/runtimes/remote-sse.js';
import type { Transport } from '../../src/sdk.js';
import { FaultyRuntime, type ServerScript } from '../../src/testing/index.js';
import { watchCatalog } from '../../src/watch-catalog.js';

class Mine {
  readonly type = 'mine';
  readonly spec = v.strictObject({ color: v.picklist(['red', 'blue']), size: v.optional(v.number()) });
  open(): Promise<never> {
    return Promise.reject(new Error('not for opening'));
  }
}

class Other {
  readonly type = 'other';
  readonly spec = v.strictObject({ url: v.string() });
  open(): Promise<never> {
    return Promise.reject(new Error('not for opening'));
  }
}

type Input = CatalogInput<RuntimeInputOf<Mine | Other>>;

describe('types of a catalog', () => {
  test('follow the factories', () => {
    expectTypeOf<Mine>().toExtend<RuntimeFactory>();
    expectTypeOf<{ servers: [{ id: 'a'; runtime: { type: 'mine'; color: 'red' } }] }>().toExtend<Input>();
    expectTypeOf<{ servers: [{ id: 'a'; runtime: { type: 'other'; url: string } }] }>().toExtend<Input>();
    expectTypeOf<{ servers: [{ id: 'a'; runtime: { type: 'mine'; color: 'green' } }] }>().not.toExtend<Input>();
    expectTypeOf<{ servers: [{ id: 'a'; runtime: { type: 'mine'; url: string } }] }>().not.toExtend<Input>();
    expectTypeOf<{ servers: [{ id: 'a'; runtime: { type: 'none' } }] }>().not.toExtend<Input>();
    expectTypeOf<Input['servers'][number]['runtime']['type']>().toEqualTypeOf<'mine' | 'other'>();
  });

  test('are those of the schema', () => {
    type Schema = v.InferInput<typeof envelopeSchema>;
    expectTypeOf<keyof ServerInput>().toEqualTypeOf<keyof Schema>();
    expectTypeOf<Schema['id']>().toEqualTypeOf<ServerInput['id']>();
    expectTypeOf<Schema['isolation']>().toEqualTypeOf<ServerInput['isolation']>();
    expectTypeOf<Schema['on_reload']>().toEqualTypeOf<ServerInput['on_reload']>();
    expectTypeOf<Schema['protocol']>().toEqualTypeOf<ServerInput['protocol']>();
    expectTypeOf<keyof NonNullable<Schema['restart']>>().toEqualTypeOf<keyof NonNullable<ServerInput['restart']>>();
    expectTypeOf<keyof NonNullable<Schema['health']>>().toEqualTypeOf<keyof NonNullable<ServerInput['health']>>();
  });

  test('let a parsed catalog be part of one in code', () => {
    expectTypeOf<Catalog>().toExtend<CatalogInput>();
    expectTypeOf<Catalog>().toExtend<GatewayCatalog>();
    const mixed = (read: Catalog): GatewayCatalog => ({
      servers: [...read.servers, { id: 'a', runtime: { type: 'local-process', command: 'x' } }],
    });
    expectTypeOf(mixed).returns.toEqualTypeOf<GatewayCatalog>();
  });

  test('have a name for a server of a gateway, by which lists of them are written', () => {
    const list: GatewayServer[] = [];
    list.push({ id: 'a', isolation: 'shared', runtime: { type: 'local-process', command: 'x' } });
    void (() => createGateway({ servers: list }));
    const mine: GatewayServer<[Mine]> = { id: 'a', runtime: { type: 'mine', color: 'red' } };
    void (() => createGateway({ servers: [...list, mine] }, { runtimes: [new Mine()] }));
    void ((read: Catalog) => [...read.servers] satisfies GatewayServer[]);
    // @ts-expect-error -- a key that its runtime does not have
    list.push({ id: 'a', runtime: { type: 'local-process', comand: 'x' } });
  });

  test('let a catalog that was made elsewhere meet runtimes with settings, and those of its host', () => {
    const made = (): GatewayCatalog => ({ servers: [] });
    void (() => createGateway(made(), { runtimes: [new RemoteSseRuntime({ proxy: false })] }));
    void (() => createGateway(made(), { runtimes: [new Mine()] }));
    const mine = (): GatewayCatalog<[Mine]> => ({ servers: [] });
    void (() => createGateway(mine(), { runtimes: [new RemoteSseRuntime(), new Mine()] }));
    // @ts-expect-error -- a runtime that is not there
    void (() => createGateway(mine()));
  });

  test('take any fields for a factory whose schema does not say what it takes', () => {
    const created = () => ({}) as RuntimeFactory<{ color: string }>;
    void (() =>
      createGateway({ servers: [{ id: 'a', runtime: { type: 'mine', color: 'red' } }] }, { runtimes: [created()] }));
    const chosen: RuntimeFactory[] = [];
    void (() =>
      createGateway({ servers: [{ id: 'a', runtime: { type: 'mine', color: 'red' } }] }, { runtimes: chosen }));
    expectTypeOf<RuntimeInputOf<RuntimeFactory>>().toExtend<RuntimeInput>();
    // @ts-expect-error -- the type is missing
    void (() => createGateway({ servers: [{ id: 'a', runtime: { color: 'red' } }] }, { runtimes: [created()] }));
  });

  test('are for a faulty runtime those of the other one', () => {
    const runtimes = () => [new FaultyRuntime(new Mine(), { seed: 1 })] as const;
    void (() =>
      createGateway({ servers: [{ id: 'a', runtime: { type: 'mine', color: 'red' } }] }, { runtimes: runtimes() }));
    void (() =>
      createGateway(
        // @ts-expect-error -- a value that its schema does not have
        { servers: [{ id: 'a', runtime: { type: 'mine', color: 'green' } }] },
        { runtimes: runtimes() },
      ));
    void (() => new FaultyRuntime<InProcessSpec>(new InProcessRuntime(), { seed: 1 }));
  });

  test('let a function in process return a server or a transport, as it likes', () => {
    expectTypeOf<() => Promise<InProcessServer | Transport>>().toExtend<InProcessSpec['server']>();
  });

  test('let a script lose what it had', () => {
    expectTypeOf<{ tools: undefined; on: undefined; open: undefined }>().toExtend<ServerScript>();
  });

  test('of errors are the same in a status and in an event', () => {
    expectTypeOf<NonNullable<ServerStatus['lastError']>['code']>().toEqualTypeOf<GatewayErrorCode>();
  });

  test('let no mistake in code through', () => {
    const type = 'local-process';
    // @ts-expect-error -- a key that its runtime does not have
    void (() => createGateway({ servers: [{ id: 'a', runtime: { type, comand: 'x' } }] }));
    // @ts-expect-error -- a key too many
    void (() => createGateway({ servers: [{ id: 'a', runtime: { type, command: 'x', arg: [] } }] }));
    // @ts-expect-error -- a runtime that is not there
    void (() => createGateway({ servers: [{ id: 'a', runtime: { type: 'mine', color: 'red' } }] }));
    void (() =>
      createGateway({ servers: [{ id: 'a', runtime: { type: 'mine', color: 'red' } }] }, { runtimes: [new Mine()] }));
    void (() =>
      createGateway(
        // @ts-expect-error -- a value that its schema does not have
        { servers: [{ id: 'a', runtime: { type: 'mine', color: 'green' } }] },
        { runtimes: [new Mine()] },
      ));
  });

  test('let no mistake through in a reload either', () => {
    const type = 'local-process';
    const plain = () => createGateway({ servers: [] });
    const mine = () => createGateway({ servers: [] }, { runtimes: [new Mine()] });
    void (() => plain().reload({ servers: [{ id: 'a', runtime: { type, command: 'x' } }] }));
    void ((read: Catalog) => plain().reload(read));
    void ((read: Catalog) =>
      plain().reload({ servers: [...read.servers, { id: 'a', runtime: { type, command: 'x' } }] }));
    // @ts-expect-error -- a key that its runtime does not have
    void (() => plain().reload({ servers: [{ id: 'a', runtime: { type, comand: 'x' } }] }));
    // @ts-expect-error -- a runtime that is not there
    void (() => plain().reload({ servers: [{ id: 'a', runtime: { type: 'mine', color: 'red' } }] }));
    void (() => mine().reload({ servers: [{ id: 'a', runtime: { type: 'mine', color: 'red' } }] }));
    // @ts-expect-error -- a value that its schema does not have
    void (() => mine().reload({ servers: [{ id: 'a', runtime: { type: 'mine', color: 'green' } }] }));
    void (() => mine() satisfies Gateway);
    const added = { id: 'a', runtime: { type: 'mine', color: 'red' } } as const;
    void (() => watchCatalog('x', mine(), { map: ({ servers }) => ({ servers: [...servers, added] }) }));
    void (() =>
      watchCatalog<Mine>('x', mine(), {
        map: () => ({ servers: [{ id: 'a', runtime: { type: 'mine', color: 'red' } }] }),
      }));
    // @ts-expect-error -- a runtime that the gateway does not have
    void (() => watchCatalog('x', plain(), { map: ({ servers }) => ({ servers: [...servers, added] }) }));
  });
});
