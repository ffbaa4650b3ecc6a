import { takeCoverage } from 'node:v8';
import { afterAll } from 'vitest';

// Workers are killed at their end, before V8 would write what it has counted.
afterAll(() => takeCoverage());
