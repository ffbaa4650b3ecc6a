import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { gatewayOptions } from '../../src/gateway-options.js';
import { createGateway } from '../../src/index.js';
import { tableBelow } from './markdown.js';

const page = readFileSync(new URL('../../docs/gateway.md', import.meta.url), 'utf8');
const namesIn = (heading: string) => tableBelow(page, heading).map(([cell = '']) => /^`(\w+)/.exec(cell)?.[1]);

describe('docs/gateway.md', () => {
  test('has a line for each option of createGateway, and no other', () => {
    expect(namesIn('Options').sort()).toEqual(Object.keys(gatewayOptions.entries).sort());
  });

  test('has a line for each method of a gateway, and no other', () => {
    const gateway = createGateway({ servers: [] });
    const methods = Object.getOwnPropertyNames(Object.getPrototypeOf(gateway)).filter((name) => name !== 'constructor');
    expect([...new Set(namesIn('Methods'))].sort()).toEqual([...methods, 'names'].sort());
  });
});
