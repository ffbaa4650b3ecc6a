import { randomBytes } from 'node:crypto';
import { KubeConfig, type KubernetesObject, KubernetesObjectApi } from '@kubernetes/client-node';

/** The part of a pod that the tests look at. */
export interface Pod extends KubernetesObject {
  readonly metadata: { readonly name: string; readonly uid: string; readonly deletionTimestamp?: Date };
  readonly status?: {
    readonly phase?: string;
    readonly podIP?: string;
    readonly conditions?: readonly { readonly type: string; readonly status: string }[];
    readonly containerStatuses?: readonly { readonly containerID?: string; readonly restartCount: number }[];
  };
}

type Loose = KubernetesObject & { readonly metadata: { readonly name: string } } & Record<string, unknown>;

/** A namespace of a test's own: with all that is in it, it goes at the end. */
export class TestNamespace implements AsyncDisposable {
  readonly name: string;
  readonly #api: KubernetesObjectApi;

  private constructor(name: string, api: KubernetesObjectApi) {
    this.name = name;
    this.#api = api;
  }

  static async create(prefix: string): Promise<TestNamespace> {
    const config = new KubeConfig();
    config.loadFromDefault();
    const api = KubernetesObjectApi.makeApiClient(config);
    const name = `${prefix}-${randomBytes(3).toString('hex')}`;
    await api.create({ apiVersion: 'v1', kind: 'Namespace', metadata: { name } });
    return new TestNamespace(name, api);
  }

  async create(object: Loose): Promise<void> {
    const placed = { ...object, metadata: { ...object.metadata, namespace: this.name } } as KubernetesObject;
    await eventually(`the API server makes ${object.kind} ${object.metadata.name}`, () =>
      this.#api.create(placed).catch((error: unknown) => {
        // It asks to come again, as for the pod of a ServiceAccount that has no token yet.
        if (!String(error).includes('ServerTimeout')) throw error;
        return undefined;
      }),
    );
  }

  async patch(object: Loose): Promise<void> {
    const named = { ...object, metadata: { ...object.metadata, namespace: this.name } };
    await this.#api.patch(
      named as KubernetesObject,
      undefined,
      undefined,
      undefined,
      undefined,
      'application/merge-patch+json',
    );
  }

  async delete(kind: string, name: string, graceSeconds?: number, apiVersion = 'v1'): Promise<void> {
    const object = { apiVersion, kind, metadata: { name, namespace: this.name } };
    // The default of the API lets the pods of a Job stay.
    await this.#api.delete(object, undefined, undefined, graceSeconds, undefined, 'Background');
  }

  async list<T extends KubernetesObject>(kind: string, labelSelector?: string, apiVersion = 'v1'): Promise<T[]> {
    const found = await this.#api.list(
      apiVersion,
      kind,
      this.name,
      undefined,
      undefined,
      undefined,
      undefined,
      labelSelector,
    );
    return (found.items ?? []) as T[];
  }

  /** The pods with a label `app`, those that are being shut down left out. */
  async pods(app: string): Promise<Pod[]> {
    const all = await this.list<Pod>('Pod', `app=${app}`);
    return all.filter(({ metadata }) => metadata.deletionTimestamp === undefined);
  }

  /** Waits until that many pods are ready, and no other is left. */
  async readyPods(app: string, count: number): Promise<Pod[]> {
    let all: Pod[] = [];
    return eventually(
      `${count} ready pods of ${app}`,
      async () => {
        all = await this.list<Pod>('Pod', `app=${app}`);
        return all.length === count && all.every(isReady) ? all : undefined;
      },
      undefined,
      () =>
        `: ${JSON.stringify(all.map(({ metadata, status }) => [metadata.name, metadata.deletionTimestamp, status]))}`,
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Its end takes a while, and nobody needs to see it.
    await this.#api.delete({ apiVersion: 'v1', kind: 'Namespace', metadata: { name: this.name } });
  }
}

function isReady({ metadata, status }: Pod): boolean {
  const ready = status?.conditions?.some((one) => one.type === 'Ready' && one.status === 'True') ?? false;
  return ready && metadata.deletionTimestamp === undefined;
}

/**
 * Asks until there is an answer: for what tells nobody when it happens.
 *
 * @param seen - what there was instead, for the error
 */
export async function eventually<T>(
  what: string,
  ask: () => Promise<T | undefined>,
  ms = 150_000,
  seen = () => '',
): Promise<T> {
  const deadline = performance.now() + ms;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) throw new Error(`${what}: not within ${ms} ms${seen()}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
