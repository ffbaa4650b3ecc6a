import { expect, test, vi } from 'vitest';
import { OnDemand } from '../../src/runtimes/shared/on-demand.js';

test('all who ask get what is loaded once, and it is closed once loaded', async () => {
  const part = { close: vi.fn(async () => {}) };
  const load = vi.fn(async () => part);
  const onDemand = new OnDemand(load);
  expect(await Promise.all([onDemand.get(), onDemand.get()])).toEqual([part, part]);
  expect(load).toHaveBeenCalledOnce();
  await onDemand.close();
  expect(part.close).toHaveBeenCalledOnce();
});

test('what nobody has asked for is not loaded to be closed', async () => {
  const load = vi.fn(async () => ({ close: async () => {} }));
  await new OnDemand(load).close();
  expect(load).not.toHaveBeenCalled();
});

test('a load that failed is tried again by the next who asks, and is nothing to close', async () => {
  const part = { close: vi.fn(async () => {}) };
  const load = vi.fn(async () => part).mockRejectedValueOnce(new Error('too many open files'));
  const onDemand = new OnDemand(load);
  const failed = onDemand.get();
  const closed = onDemand.close();
  await expect(failed).rejects.toThrow('too many open files');
  await closed;
  expect(await onDemand.get()).toBe(part);
});
