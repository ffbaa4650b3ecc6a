import type { ServerResponse } from 'node:http';
import type { KubernetesObject } from '../../../src/runtimes/shared/kubernetes/resources.js';

export interface Stored extends KubernetesObject {
  readonly metadata: KubernetesObject['metadata'] & {
    readonly ownerReferences?: readonly { readonly uid: string }[];
  };
  readonly spec?: object;
}

interface Change {
  readonly kind: string;
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED';
  readonly object: Stored;
}

interface Watcher {
  readonly kind: string;
  readonly selector: string;
  readonly response: ServerResponse;
}

/** What an API server keeps, and who watches it. */
export class Objects {
  readonly watchers = new Set<Watcher>();
  readonly #kept = new Map<string, Stored>();
  readonly #changes: Change[] = [];
  #version = 100;
  /** Changes up to this one are forgotten. */
  #forgotten = 100;

  get version(): string {
    return String(this.#version);
  }

  get(kind: string, name: string): Stored | undefined {
    return this.#kept.get(`${kind}/${name}`);
  }

  list(kind: string, selector = ''): Stored[] {
    return [...this.#kept]
      .filter(([key, object]) => key.startsWith(`${kind}/`) && fits(object, selector))
      .map(([, object]) => object);
  }

  /** Undefined when there is one of that name. */
  create(kind: string, object: Stored): Stored | undefined {
    if (this.get(kind, object.metadata.name) !== undefined) return undefined;
    return this.#put(kind, 'ADDED', { ...object, metadata: { ...object.metadata, uid: `uid-${this.#version + 1}` } });
  }

  change(kind: string, object: Stored): Stored {
    return this.#put(kind, 'MODIFIED', object);
  }

  delete(kind: string, name: string): void {
    const object = this.get(kind, name);
    if (object === undefined) return;
    this.#put(kind, 'DELETED', object);
    this.#kept.delete(`${kind}/${name}`);
  }

  /** Sends the changes since `version`, and those to come. False when they are not known any more. */
  watch(kind: string, selector: string, version: string, response: ServerResponse): boolean {
    const since = Number(version);
    if (since < this.#forgotten) return false;
    const watcher = { kind, selector, response };
    response.writeHead(200).flushHeaders();
    for (const change of this.#changes) {
      if (Number(change.object.metadata.resourceVersion) > since) this.#tell(watcher, change);
    }
    this.watchers.add(watcher);
    response.on('close', () => this.watchers.delete(watcher));
    return true;
  }

  /** As a compaction does: who asks for changes from before has to list anew. */
  forget(): void {
    this.#forgotten = this.#version;
  }

  /** Tells those who watch how far they are, twice. */
  bookmark(): void {
    for (const { response } of this.watchers) {
      const object = { metadata: { resourceVersion: this.version } };
      if (!response.writableEnded) response.write(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`.repeat(2));
    }
  }

  #put(kind: string, type: Change['type'], object: Stored): Stored {
    this.#version += 1;
    const stored = { ...object, metadata: { ...object.metadata, resourceVersion: this.version } };
    this.#kept.set(`${kind}/${object.metadata.name}`, stored);
    const change = { kind, type, object: stored };
    this.#changes.push(change);
    for (const watcher of this.watchers) this.#tell(watcher, change);
    return stored;
  }

  #tell({ kind, selector, response }: Watcher, change: Change): void {
    if (change.kind !== kind || !fits(change.object, selector)) return;
    if (!response.writableEnded) response.write(`${JSON.stringify({ type: change.type, object: change.object })}\n`);
  }
}

function fits({ metadata: { labels = {} } }: Stored, selector: string): boolean {
  return selector
    .split(',')
    .filter((part) => part !== '')
    .every((part) => {
      const [name = '', value] = part.split('=');
      return labels[name] === value;
    });
}
