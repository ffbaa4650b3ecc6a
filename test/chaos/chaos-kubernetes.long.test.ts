import { test } from 'vitest';
import { describeWithKubernetes } from '../support/real-parts.js';
import { expectClean } from './run-chaos.js';

// For the long form alone: it waits for minutes until a cluster has cleared away what was killed.
describeWithKubernetes('Jobs and pods that are killed at random', () => {
  test('leave nothing, and lose, double and misdeliver nothing', { timeout: 600_000 }, () =>
    expectClean(0.15, 'k8s-job,k8s-service', 'job', 'service'),
  );
});
