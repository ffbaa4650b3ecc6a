import { describe, expect, test } from 'vitest';
import { createFloodingHost, floodKinds } from '../fixtures/http/flooding-host.js';
import { measuresMemory, startHost } from '../support/host.js';

interface Measured {
  readonly kind: string;
  readonly code: string;
  readonly message: string;
  /** How many messages came. */
  readonly answered: number;
  /** The next request was answered. */
  readonly alive: boolean;
  readonly closes: number;
  readonly grownMiB: number;
}

/** Runs a host whose server floods it, in a process of its own, so that its memory can be seen. */
async function flood(kind: string): Promise<Measured> {
  await using server = await createFloodingHost();
  const host = startHost('flooded-http', [server.url, kind], measuresMemory);
  const { value } = await host.lines.next();
  expect(host.stderr()).toBe('');
  expect(await host.ended(150_000)).toBe(0);
  return JSON.parse(String(value)) as Measured;
}

// The limit of a message is 16 MiB in this host.
const boundMiB = 64 + 3 * 16;

const codes: Readonly<Record<string, string>> = {
  'body, compressed': '',
  'bomb of zstd': 'CONNECTION_FAILED',
  'layers of compression': 'CONNECTION_FAILED',
  'endless headers': 'CONNECTION_FAILED',
  'endless header': 'CONNECTION_FAILED',
  'endless trailers': 'CONNECTION_FAILED',
  'endless hints': 'CONNECTION_FAILED',
  'error with an endless page': 'HTTP_STATUS',
  'refusal with a bomb': 'HTTP_STATUS',
  'redirect with an endless body': 'HTTP_STATUS',
  listening: 'MESSAGE_INVALID',
};

describe('a server over HTTP that sends without measure', { timeout: 300_000 }, () => {
  test.each([...floodKinds, 'listening'])('%s: costs its own request and little memory', async (kind) => {
    const measured = await flood(kind);
    expect(measured).toMatchObject({ code: codes[kind] ?? 'MESSAGE_TOO_LARGE', alive: true, closes: 0 });
    expect(measured.answered).toBe(measured.code === '' ? 1 : 0);
    expect(measured.grownMiB).toBeLessThan(boundMiB);
  });
});
