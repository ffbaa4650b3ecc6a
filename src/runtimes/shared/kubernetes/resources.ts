/** What every Kubernetes object has. */
export interface KubernetesObject {
  readonly metadata: ObjectMeta;
}

export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
  readonly resourceVersion?: string;
  readonly creationTimestamp?: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
}

/** A kind of objects, one of them, or a part of one. */
export interface ResourceRef {
  /** Empty for the core API. */
  readonly group: string;
  readonly version: string;
  /** In plural, as in `pods`. */
  readonly resource: string;
  readonly namespace?: string | undefined;
  readonly name?: string | undefined;
  readonly subresource?: string | undefined;
}

/** What a SelfSubjectAccessReview asks about. */
export interface AccessReview {
  readonly verb: string;
  readonly group: string;
  readonly resource: string;
  readonly subresource?: string | undefined;
  readonly namespace?: string | undefined;
}

type Place = Pick<ResourceRef, 'namespace' | 'name' | 'subresource'>;

const resource = (group: string, version: string, plural: string) => (place: Place) => ({
  group,
  version,
  resource: plural,
  ...place,
});

export const pods = resource('', 'v1', 'pods');
export const secrets = resource('', 'v1', 'secrets');
export const events = resource('', 'v1', 'events');
export const services = resource('', 'v1', 'services');
export const endpoints = resource('', 'v1', 'endpoints');
export const jobs = resource('batch', 'v1', 'jobs');
export const leases = resource('coordination.k8s.io', 'v1', 'leases');
export const endpointSlices = resource('discovery.k8s.io', 'v1', 'endpointslices');

/** The path of a resource below the address of the API server; every part is encoded. */
export function pathOf({ group, version, resource, namespace, name, subresource }: ResourceRef): string {
  const parts = [
    ...(group === '' ? ['api', version] : ['apis', group, version]),
    ...(namespace === undefined ? [] : ['namespaces', namespace]),
    resource,
    ...(name === undefined ? [] : [name]),
    ...(subresource === undefined ? [] : [subresource]),
  ];
  return parts.map(encodePart).join('/');
}

// `..` would be taken out of the URL and lead elsewhere; Kubernetes allows no such name.
function encodePart(part: string): string {
  return part === '' || /^\.+$/.test(part) ? '%00' : encodeURIComponent(part);
}

/** `jobs.batch in namespace "x"`, for messages. */
export function showResource({ group, resource, subresource, namespace, name }: ResourceRef): string {
  const kind = `${resource}${subresource === undefined ? '' : `/${subresource}`}${group === '' ? '' : `.${group}`}`;
  const which = name === undefined ? '' : ` "${name}"`;
  return `${kind}${which}${namespace === undefined ? '' : ` in namespace "${namespace}"`}`;
}
