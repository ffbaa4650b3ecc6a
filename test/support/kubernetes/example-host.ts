import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { KubernetesObject } from '@kubernetes/client-node';
import { build } from 'tsup';
import { parseAllDocuments } from 'yaml';
import { baseImage } from '../real-parts.js';
import type { TestNamespace } from './namespace.js';

const docker = async (...args: string[]) => promisify(execFile)('docker', args);
const file = (name: string) => fileURLToPath(new URL(`../../../docs/examples/kubernetes/${name}`, import.meta.url));

interface DeployOptions {
  readonly replicas: number;
  readonly env: Readonly<Record<string, string>>;
}

/** The host application of the docs, as an image of the local engine. */
export class ExampleHost implements AsyncDisposable {
  readonly #image = `open-mcp-gateway/host:${randomBytes(4).toString('hex')}`;

  private constructor() {}

  static async build(): Promise<ExampleHost> {
    const host = new ExampleHost();
    await buildImage(host.#image);
    return host;
  }

  /** Applies the manifests of the docs, with this image and more variables. */
  async deploy(namespace: TestNamespace, catalog: object, options: DeployOptions): Promise<void> {
    await namespace.create({ ...catalogMap(JSON.stringify(catalog)) });
    for (const document of parseAllDocuments(await readFile(file('deployment.yaml'), 'utf8'))) {
      await namespace.create(this.#adapt(document.toJS(), options));
    }
  }

  #adapt(object: KubernetesObject & { metadata: { name: string } }, { replicas, env }: DeployOptions) {
    if (object.kind !== 'Deployment') return { ...object };
    const { spec } = structuredClone(object) as unknown as { spec: { template: { spec: { containers: object[] } } } };
    const [container] = spec.template.spec.containers as { env: { name: string }[] }[];
    const kept = container?.env.filter(({ name }) => env[name] === undefined) ?? [];
    const more = Object.entries(env).map(([name, value]) => ({ name, value }));
    Object.assign(container ?? {}, { image: this.#image, imagePullPolicy: 'Never', env: [...kept, ...more] });
    return { ...object, spec: { ...spec, replicas } };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // Pods that are going may still use it.
    await docker('rmi', '--force', this.#image).catch(() => {});
  }
}

/** The ConfigMap that the pods of the host mount. */
export function catalogMap(text: string) {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { name: 'catalog' }, data: { 'catalog.yaml': text } };
}

/** An image with the host application as one file. */
async function buildImage(image: string): Promise<void> {
  const dir = await mkdtemp(join(tmpdir(), 'host-'));
  try {
    await build({
      entry: { host: file('host.ts') },
      format: 'esm',
      outDir: dir,
      outExtension: () => ({ js: '.mjs' }),
      platform: 'node',
      target: 'node22',
      noExternal: [/.*/],
      splitting: false,
      config: false,
      silent: true,
      // Some packages ask for Node's own modules as CommonJS does.
      banner: { js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);" },
    });
    await writeFile(join(dir, 'Dockerfile'), `FROM ${baseImage}\nCOPY host.mjs /app/\nCMD ["node", "/app/host.mjs"]\n`);
    await docker('build', '--quiet', '--tag', image, dir);
  } finally {
    await rm(dir, { recursive: true });
  }
}
