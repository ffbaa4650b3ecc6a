import { type Fields, isFields } from '../../../util/fields.js';

/** What is read of objects, as far as it is a list: `[]` of objects, `*` of texts. The API leaves out lists that are empty, or says null. */
const lists: Readonly<Record<string, readonly string[]>> = {
  pods: [
    'spec.initContainers[]',
    'status.conditions[]',
    'status.initContainerStatuses[]',
    'status.containerStatuses[]',
  ],
  jobs: ['status.conditions[]'],
  services: ['spec.ports[]'],
  endpointslices: ['ports[]', 'endpoints[].addresses*'],
  endpoints: ['subsets[].addresses[]', 'subsets[].notReadyAddresses[]', 'subsets[].ports[]'],
};

/** What in an object, or a list of objects, has another shape than in Kubernetes, in words; undefined when nothing has. */
export function findFlaw(answer: Fields, resource: string): string | undefined {
  const all = Array.isArray(answer.items) ? [answer, ...(answer.items as Fields[])] : [answer];
  for (const object of all) {
    const flaw = flawOfMetadata(object.metadata as Fields) ?? flawOfLists(object, lists[resource] ?? []);
    if (flaw !== undefined) return flaw;
  }
  return undefined;
}

function flawOfMetadata(metadata: Fields): string | undefined {
  const text = ['name', 'uid', 'resourceVersion'].find((key) => !isTextOrNone(metadata[key]));
  if (text !== undefined) return `metadata.${text} that is no text`;
  const { labels } = metadata;
  return isNone(labels) || isFields(labels) ? undefined : 'metadata.labels that are no object';
}

function flawOfLists(object: Fields, paths: readonly string[]): string | undefined {
  for (const path of paths) {
    const flaw = flawAt(object, path.split('.'), '');
    if (flaw !== undefined) return flaw;
  }
  return undefined;
}

function flawAt(object: Fields, [part = '', ...rest]: readonly string[], before: string): string | undefined {
  const key = part.replace(/\[\]$|\*$/, '');
  const where = `${before}${key}`;
  const value = object[key];
  if (isNone(value)) return undefined;
  if (key === part) return isFields(value) ? flawAt(value, rest, `${where}.`) : `${where} that is no object`;
  if (!Array.isArray(value)) return `${where} that is no list`;
  for (const element of value as unknown[]) {
    const isRight = part.endsWith('*') ? typeof element === 'string' : isFields(element);
    if (!isRight) return `${where} that holds ${part.endsWith('*') ? 'what is no text' : 'what is no object'}`;
    const deeper = rest.length === 0 ? undefined : flawAt(element as Fields, rest, `${where}[].`);
    if (deeper !== undefined) return deeper;
  }
  return undefined;
}

function isNone(value: unknown): boolean {
  return value === undefined || value === null;
}

function isTextOrNone(value: unknown): boolean {
  return isNone(value) || typeof value === 'string';
}
