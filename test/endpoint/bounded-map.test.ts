import { setTimeout } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { BoundedMap } from '../../src/endpoint/bounded-map.js';

setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;

/** Whether nothing but what looks at it here holds a value any more. */
async function isGone(value: WeakRef<object>): Promise<boolean> {
  // A reference that was looked at holds its value until the next turn of the event loop.
  await setTimeout(0);
  collectGarbage();
  return value.deref() === undefined;
}

/** A map that has been full, with a value that it does not forget. */
function full() {
  const map = new BoundedMap<string, object>(100);
  for (let index = 0; index < 250; index += 1) {
    map.set(`early ${index}`, {});
  }
  const value = {};
  map.set('value', value);
  return { map, value: new WeakRef(value) };
}

/** Sets what is there already so often that the map is built anew. */
function setAgain(map: BoundedMap<string, object>, times: number) {
  for (let index = 0; index < times; index += 1) {
    map.set('other', {});
  }
}

test.for([
  [
    'set again',
    (map: BoundedMap<string, object>) => {
      setAgain(map, 1_000);
      map.set('value', {});
      setAgain(map, 1_000);
    },
  ],
  [
    'deleted',
    (map: BoundedMap<string, object>) => {
      setAgain(map, 40);
      map.delete('value');
    },
  ],
  [
    'deleted with others',
    (map: BoundedMap<string, object>) => {
      setAgain(map, 40);
      map.deleteWhere((_, key) => key === 'value');
    },
  ],
] as const)('of a map that was full, what is %s is not kept in memory', async ([, change]) => {
  const { map, value } = full();
  expect(await isGone(value)).toBe(false);
  change(map);
  expect(await isGone(value)).toBe(true);
  expect(map.get('other')).toBeDefined();
});

test('what was set longest ago is forgotten, whatever was set again or deleted before', () => {
  const map = new BoundedMap<number, number>(3);
  const has = () => [0, 1, 2, 3, 4, 5, 6, 7].filter((key) => map.get(key) !== undefined);
  for (const key of [0, 1, 2, 3, 1, 4]) map.set(key, key);
  expect(has()).toEqual([1, 3, 4]);
  map.delete(1);
  for (const key of [5, 3, 6]) map.set(key, key);
  expect(has()).toEqual([3, 5, 6]);
  map.set(7, 7);
  expect(has()).toEqual([3, 6, 7]);
});
