import assert from 'node:assert/strict';
import type { CheckResult } from '../runtime.js';
import { isError } from '../util/is-error.js';
import type { ContractCase, Scene } from './contract-case.js';
import { within } from './guard.js';

const secret = 'canary-4f1d9c2ab7';

/** What a factory promises besides `open()`. */
export const factoryCases: readonly ContractCase[] = [
  {
    name: 'factory: its schema accepts both specs, synchronously',
    async run(scene) {
      for (const spec of [await scene.working(), await scene.broken()]) {
        const result = scene.factory.spec['~standard'].validate(spec);
        assert(!(result instanceof Promise), 'validation is synchronous');
        assert.equal(result.issues, undefined);
      }
    },
  },
  {
    name: 'factory: the server gets the env of the context',
    needs: 'env',
    async run(scene) {
      const peer = await scene.started('answer', { env: { REFERENCE_VALUE: 'a = "b" $c €' } });
      assert.equal(await peer.call('env', { name: 'REFERENCE_VALUE' }), JSON.stringify('a = "b" $c €'));
    },
  },
  {
    name: 'factory: two servers at once do not mix',
    async run(scene) {
      const [one, two] = await Promise.all([scene.started(), scene.started()]);
      await Promise.all([one.notify(1), two.notify(2)]);
      assert.deepEqual(await Promise.all([one.call('seen'), two.call('seen')]), ['[1]', '[2]']);
      await one.close();
      await one.closed();
      assert.equal(await two.call('echo', { text: 'alone' }), 'alone');
      assert.equal(two.closes, 0);
    },
  },
  {
    name: 'factory: the end of one server leaves the other alone',
    async run(scene) {
      const [one, two] = await Promise.all([scene.started(), scene.started()]);
      await one.tell('crash', { code: 7 });
      await one.ended();
      assert.equal(await two.call('echo', { text: 'alone' }), 'alone');
      assert.deepEqual(two.errors, []);
    },
  },
  {
    name: 'factory: health() resolves while the server lives, and can be aborted',
    async run(scene) {
      const { transport } = await scene.started();
      await within(Promise.resolve(transport.health?.(new AbortController().signal)), scene.guardMs, 'health()');
      const reason = new Error('asked for too long');
      const asked = Promise.allSettled([(async () => transport.health?.(AbortSignal.abort(reason)))()]);
      const [outcome] = await within(asked, scene.guardMs, 'health() with an aborted signal');
      if (outcome.status === 'rejected') assert.equal(outcome.reason, reason);
    },
  },
  {
    name: 'factory: errors hold no value of the env',
    async run(scene) {
      const env = { REFERENCE_SECRET: secret };
      const failed = await scene.tryOpen(await scene.broken(), scene.context({ env })).catch((error: unknown) => error);
      assertNoSecret(failed);
      const peer = await scene.started('answer', { env });
      await peer.tell('crash', { code: 7 });
      assertNoSecret(await peer.ended());
    },
  },
  {
    name: 'factory: describe() is plain JSON without values of the env, and starts nothing',
    needs: 'describe',
    async run(scene) {
      const { server, baseDir } = scene.context();
      const description = scene.factory.describe?.(await scene.working(), {
        server,
        baseDir,
        env: { REFERENCE_SECRET: secret },
      });
      assert.deepEqual(JSON.parse(JSON.stringify(description)), description);
      assertNoSecret(JSON.stringify(description));
      await assertNothingStarted(scene);
    },
  },
  {
    name: 'factory: check() says that a server can be started, and does not start it',
    needs: 'check',
    async run(scene) {
      const result = await check(scene, await scene.working());
      assert.deepEqual(result, { ok: true, problems: [] });
      await assertNothingStarted(scene);
    },
  },
  {
    name: 'factory: check() says what is missing',
    needs: 'check',
    async run(scene) {
      const result = await check(scene, await scene.broken());
      assert.equal(result.ok, false);
      assert(result.problems.length > 0, 'there is a problem for each thing that is missing');
      for (const problem of result.problems) assert.match(problem, /\S/);
    },
  },
  {
    name: 'factory: check() with an aborted signal rejects with its reason',
    needs: 'check',
    async run(scene) {
      const reason = new Error('the caller has had enough');
      const asked = scene.factory.check?.(await scene.working(), scene.context({ signal: AbortSignal.abort(reason) }));
      await assert.rejects(Promise.resolve(asked), (error) => error === reason);
    },
  },
];

async function check(scene: Scene, spec: unknown): Promise<CheckResult> {
  const result = await within(Promise.resolve(scene.factory.check?.(spec, scene.context())), scene.guardMs, 'check()');
  assert(result);
  return result;
}

async function assertNothingStarted(scene: Scene): Promise<void> {
  await scene.openOneMore();
  assert(scene.beacon.seen <= 1, 'nothing is started');
}

function assertNoSecret(value: unknown): void {
  for (let error = value; isError(error); error = error.cause) {
    assert(!`${error.message} ${error.stack} ${JSON.stringify(error)}`.includes(secret), 'a secret is in the error');
  }
  if (typeof value === 'string') assert(!value.includes(secret), 'a secret is in the description');
}
