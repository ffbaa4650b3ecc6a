import { type Fields, isFields } from '../../util/fields.js';

/** What tells the elements of a list apart; lists that are not named here are replaced as a whole. */
const keys: Readonly<Record<string, string>> = {
  containers: 'name',
  initContainers: 'name',
  volumes: 'name',
  env: 'name',
  imagePullSecrets: 'name',
  volumeMounts: 'mountPath',
  ports: 'containerPort',
};

/** `base` with `patch` laid over it: maps key by key, lists by the key of their elements. `null` takes a key away. */
export function mergePod(base: Fields, patch: Fields): Fields {
  const merged: Record<string, unknown> = { ...base };
  for (const [key, value] of Object.entries(patch)) {
    const before = Object.hasOwn(base, key) ? base[key] : undefined;
    if (value === null) {
      delete merged[key];
    } else if (isFields(value)) {
      define(merged, key, mergePod(isFields(before) ? before : {}, value));
    } else if (Array.isArray(before) && Array.isArray(value) && Object.hasOwn(keys, key)) {
      define(merged, key, mergeLists(before, value, keys[key] as string));
    } else if (value !== undefined) {
      define(merged, key, value);
    }
  }
  return merged;
}

function mergeLists(base: readonly unknown[], patch: readonly unknown[], key: string): readonly unknown[] {
  const idOf = (element: unknown) => (isFields(element) ? element[key] : undefined);
  const merged = [...base];
  for (const element of patch) {
    const at = merged.findIndex((known) => idOf(known) !== undefined && idOf(known) === idOf(element));
    const known = merged[at];
    if (isFields(known) && isFields(element)) merged[at] = mergePod(known, element);
    else merged.push(element);
  }
  return merged;
}

// A key such as `__proto__` is a key like any other.
function define(target: Record<string, unknown>, key: string, value: unknown): void {
  Object.defineProperty(target, key, { value, enumerable: true, writable: true, configurable: true });
}
