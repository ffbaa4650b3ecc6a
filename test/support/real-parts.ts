import { spawnSync } from 'node:child_process';
import { describe, test } from 'vitest';
import { findKubelet } from './kubernetes/find-kubelet.js';
import { nginxPath } from './nginx.js';

/** An image of the local engine with Node and a shell: what the images of the tests are made from. */
export const baseImage = process.env.TEST_IMAGE ?? '';

/**
 * Suites of the Docker runtime. They need an engine and a base image: `TEST_DOCKER=1 TEST_IMAGE=<tag>`.
 */
export const describeWithDocker = suiteWith(
  process.env.TEST_DOCKER === '1' && baseImage !== '',
  'a Docker engine: set TEST_DOCKER=1, and TEST_IMAGE to the tag of a local image with Node',
);

/** Suites with Podman as a second engine. They need Debian's packages podman and catatonit besides, and rights of root. */
export const describeWithPodman = suiteWith(
  process.env.TEST_DOCKER === '1' && baseImage !== '' && spawnSync('podman', ['--version']).status === 0,
  'Podman: install podman and catatonit, and set TEST_DOCKER=1 and TEST_IMAGE',
);

/** Suites of the Kubernetes runtimes. They need a cluster: `KUBECONFIG=<file>`. */
export const describeWithKubernetes = suiteWith(
  (process.env.KUBECONFIG ?? '') !== '',
  'a Kubernetes cluster: set KUBECONFIG to the file of a cluster for tests',
);

/**
 * Suites that kill a kubelet: of a node of their own, beside the one of a cluster that runs on this very machine, with an
 * engine of their own.
 */
export const describeWithKubelet = suiteWith(
  (process.env.KUBECONFIG ?? '') !== '' && process.env.TEST_DOCKER === '1' && findKubelet() !== undefined,
  'a Kubernetes cluster whose kubelet runs on this machine with Docker: set KUBECONFIG, TEST_DOCKER=1 and TEST_IMAGE',
);

/** Suites with nginx before a server. */
export const describeWithNginx = suiteWith(nginxPath !== undefined, 'nginx, on the PATH or in /usr/sbin');

/** Where a part is missing, its suites say so: loudly on a machine of one's own, as a failure in CI. */
function suiteWith(present: boolean, what: string): (name: string, body: () => void) => void {
  return (name, body) => {
    if (present) {
      describe(name, body);
      return;
    }
    describe(name, () => {
      if (process.env.CI === 'true') {
        test(`needs ${what}`, () => {
          throw new Error(`"${name}" needs ${what}`);
        });
      } else {
        console.warn(`SKIPPED "${name}": it needs ${what}`);
        test.skip(`needs ${what}`, () => {});
      }
    });
  };
}
