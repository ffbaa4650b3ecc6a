import type { TestSpecification } from 'vitest/node';
import { BaseSequencer } from 'vitest/node';

/**
 * Files that take long, the longest first. Vitest knows how long a file took only where it ran before, and
 * begins with the largest elsewhere; these are short, and the last of them would run on while the other workers have nothing left.
 */
export const longFiles = [
  'conformance/client.test.ts',
  'runtimes/local-process-stop.test.ts',
  'runtimes/k8s-job-killed.test.ts',
  'gateway/model.test.ts',
  'chaos/chaos.test.ts',
  'soak/soak.test.ts',
  'endpoint/property.test.ts',
  'testing/runtime-contract.test.ts',
  'hosts/model.test.ts',
  'endpoint/lists-model.test.ts',
  'runtimes/remote-sse-model.test.ts',
  'runtimes/local-process-model.test.ts',
  'runtimes/docker-hosts.test.ts',
  'runtimes/docker-podman.test.ts',
  'runtimes/k8s-job-many.test.ts',
  'runtimes/k8s-job-conformance.test.ts',
  'runtimes/k8s-service-conformance.test.ts',
  'runtimes/k8s-job.test.ts',
  'runtimes/k8s-service-contract.test.ts',
  'runtimes/docker.test.ts',
  'examples/kubernetes-deployment.test.ts',
  'examples/kubernetes-reload.test.ts',
  'endpoint/conformance.test.ts',
  'endpoint/conformance-eras.test.ts',
  'conformance/direct.test.ts',
  'conformance/fixture.test.ts',
  'package/package.test.ts',
  'package/getting-started.test.ts',
  'package/types.test.ts',
  'examples/examples.test.ts',
  'fuzz/catalog.test.ts',
  'fuzz/framing.test.ts',
  'runtimes/local-process-floods.test.ts',
  'runtimes/remote-sse-floods.test.ts',
  'runtimes/remote-sse-endurance.test.ts',
  'instance/sigkill.test.ts',
  'reload/load.test.ts',
  'reload/property.test.ts',
];

/** Begins with {@link longFiles}; the others keep the order that Vitest gives them. */
export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = longFiles.findIndex((name) => moduleId.endsWith(`/test/${name}`));
      return at === -1 ? longFiles.length : at;
    };
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b));
  }
}
