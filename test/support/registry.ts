import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { docker } from './docker.js';
import { baseImage } from './real-parts.js';

interface Blob {
  readonly digest: string;
  readonly bytes: Buffer;
}

interface RegistryImage {
  readonly manifest: Blob;
  readonly blobs: ReadonlyMap<string, Blob>;
  readonly layer: Blob;
}

export interface RegistryOptions {
  /** `user:password`, without which it answers 401. */
  readonly login?: string | undefined;
  /** Layers are sent half, and the rest once this resolves. */
  readonly hold?: Promise<void> | undefined;
  /** What is wrong with its layers. */
  readonly broken?: 'bytes' | 'missing' | undefined;
}

/**
 * A registry on loopback that serves one image under every name and under the tag `good`, by the distribution API that
 * engines pull by. The image is a real one: a shell and its libraries, taken from the base image of the tests.
 */
export class Registry implements AsyncDisposable {
  readonly #options: RegistryOptions;
  readonly #image: RegistryImage;
  readonly #server = createServer((request, response) => this.#answer(request, response));
  readonly #pulled = new Set<string>();
  /** Methods and paths of the requests, in their order. */
  readonly requests: string[] = [];
  /** Resolves when half of a layer has been sent. */
  readonly half = Promise.withResolvers<void>();

  private constructor(image: RegistryImage, options: RegistryOptions) {
    this.#image = image;
    this.#options = options;
  }

  static async listen(options: RegistryOptions = {}): Promise<Registry> {
    made ??= makeImage();
    const registry = new Registry(await made, options);
    registry.#server.listen(0, '127.0.0.1');
    await once(registry.#server, 'listening');
    return registry;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get host(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** The name of the image here; it is removed from the engine in the end. */
  image(tag = 'good'): string {
    const name = `${this.host}/test/shell:${tag}`;
    this.#pulled.add(name);
    return name;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const name of this.#pulled) await docker('rmi', '--force', name).catch(() => {});
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, 'close');
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { method = '', url = '' } = request;
    this.requests.push(`${method} ${url}`);
    const { login } = this.#options;
    if (login !== undefined && request.headers.authorization !== `Basic ${Buffer.from(login).toString('base64')}`) {
      response.setHeader('WWW-Authenticate', 'Basic realm="test"');
      this.#refuse(response, 401, 'UNAUTHORIZED', 'authentication required');
      return;
    }
    const [, kind, reference = ''] = /^\/v2\/test\/shell\/(manifests|blobs)\/(.+)$/.exec(url) ?? [];
    const { manifest, blobs, layer } = this.#image;
    if (url === '/v2/') {
      response.setHeader('Docker-Distribution-Api-Version', 'registry/2.0').end('{}');
    } else if (kind === 'manifests' && (reference === 'good' || reference === manifest.digest)) {
      response.setHeader('Content-Type', manifestType);
      response.setHeader('Docker-Content-Digest', manifest.digest);
      response.setHeader('Content-Length', manifest.bytes.length);
      response.end(method === 'HEAD' ? undefined : manifest.bytes);
    } else if (kind === 'blobs' && blobs.has(reference)) {
      const blob = blobs.get(reference) as Blob;
      if (blob === layer) this.#sendLayer(response, blob);
      else response.end(blob.bytes);
    } else {
      this.#refuse(response, 404, kind === 'blobs' ? 'BLOB_UNKNOWN' : 'MANIFEST_UNKNOWN', 'manifest unknown');
    }
  }

  async #sendLayer(response: ServerResponse, { bytes }: Blob): Promise<void> {
    const { hold, broken } = this.#options;
    if (broken === 'missing') {
      this.#refuse(response, 404, 'BLOB_UNKNOWN', 'blob unknown to registry');
      return;
    }
    response.setHeader('Content-Length', bytes.length);
    if (broken === 'bytes') {
      response.end(Buffer.alloc(bytes.length, 'x'));
      return;
    }
    const middle = Math.floor(bytes.length / 2);
    response.write(bytes.subarray(0, middle), () => this.half.resolve());
    await hold;
    response.end(bytes.subarray(middle));
  }

  #refuse(response: ServerResponse, status: number, code: string, message: string): void {
    response.writeHead(status, { 'Content-Type': 'application/json' });
    response.end(JSON.stringify({ errors: [{ code, message }] }));
  }
}

const manifestType = 'application/vnd.docker.distribution.manifest.v2+json';
let made: Promise<RegistryImage> | undefined;

async function makeImage(): Promise<RegistryImage> {
  const script = 'cd / && exec tar -c -f - bin/busybox lib lib64';
  const child = spawn('docker', ['run', '--rm', '--network', 'none', baseImage, 'sh', '-c', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const tar = await buffer(child.stdout);
  const layer = toBlob(gzipSync(tar, { level: 1 }));
  const config = toBlob(
    Buffer.from(
      JSON.stringify({
        architecture: { x64: 'amd64', arm64: 'arm64' }[process.arch as 'x64'] ?? process.arch,
        os: 'linux',
        config: { Entrypoint: ['/bin/busybox'], Cmd: ['cat'] },
        rootfs: { type: 'layers', diff_ids: [toBlob(tar).digest] },
        history: [{ created_by: 'the tests' }],
      }),
    ),
  );
  const part = (mediaType: string, { digest, bytes }: Blob) => ({ mediaType, digest, size: bytes.length });
  const manifest = {
    schemaVersion: 2,
    mediaType: manifestType,
    config: part('application/vnd.docker.container.image.v1+json', config),
    layers: [part('application/vnd.docker.image.rootfs.diff.tar.gzip', layer)],
  };
  const blobs = new Map([config, layer].map((blob) => [blob.digest, blob]));
  return { manifest: toBlob(Buffer.from(JSON.stringify(manifest))), blobs, layer };
}

function toBlob(bytes: Buffer): Blob {
  return { digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}`, bytes };
}
