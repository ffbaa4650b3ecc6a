import dns from 'node:dns';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { auth } from '@modelcontextprotocol/sdk/client/auth.js';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { Agent } from 'undici';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import {
  createGateway,
  type Gateway,
  type GatewayEvent,
  type RemoteSseOptions,
  RemoteSseRuntime,
} from '../../src/index.js';
import { createAuthFetch } from '../../src/runtimes/remote-sse/auth-fetch.js';
import { Authorizers } from '../../src/runtimes/remote-sse/authorize.js';
import { createRuntimeContext } from '../../src/testing/index.js';
import { Peer } from '../../src/testing/peer.js';
import type { Chance } from '../../src/transport/http/exchange.js';
import { listen, sendJson } from '../fixtures/http/listen.js';
import { listenOAuth, MemoryProvider, type OAuthHost } from '../fixtures/http/oauth-host.js';
import { listenScripted } from '../fixtures/http/scripted-host.js';
import { freePort } from '../support/free-port.js';
import { collectGarbage } from '../support/heap.js';

function createRemoteGateway(url: string, options: RemoteSseOptions, events: unknown[] = []): Gateway {
  return createGateway(
    { servers: [{ id: 'remote', runtime: { type: 'remote-sse', url } }] },
    { runtimes: [new RemoteSseRuntime(options)], onEvent: (event) => events.push(event) },
  );
}

async function connect(gateway: Gateway, caller?: string): Promise<Client> {
  const client = new Client({ name: 'test', version: '1' });
  await client.connect(gateway.connect('remote', caller === undefined ? {} : { caller: { id: caller } }));
  return client;
}

async function call(client: Client, name = 'whoami'): Promise<string> {
  const { content } = (await client.callTool({ name, arguments: {} })) as { content: { text: string }[] };
  return content[0]?.text ?? '';
}

/** What a promise failed with. */
async function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    (value) => ({ succeeded: value }),
    (error: unknown) => error,
  );
}

/** A provider whose person has consented. */
async function signedIn(host: OAuthHost, user: string, scope?: string): Promise<MemoryProvider> {
  const provider = new MemoryProvider();
  const resourceMetadataUrl = new URL(host.resourceMetadataUrl);
  const options = { serverUrl: host.url, resourceMetadataUrl, ...(scope !== undefined && { scope }) };
  await auth(provider, options);
  await auth(provider, { ...options, authorizationCode: await host.consent(provider.address, user) });
  return provider;
}

/** An authorizer that asks nothing of the authorization server before it may go on. */
function gated(host: OAuthHost, provider: MemoryProvider) {
  const asked = Promise.withResolvers<void>();
  const goOn = Promise.withResolvers<void>();
  const authorizer = new Authorizers().create('remote', new URL(host.url), provider, async (...request) => {
    asked.resolve();
    await goOn.promise;
    return fetch(...request);
  });
  return { authorizer, asked: asked.promise, goOn: goOn.resolve };
}

/** All that a failure shows, and what led to it. */
function everythingOf(error: unknown): string {
  if (!(error instanceof Error)) return JSON.stringify(error) ?? '';
  return [
    String(error),
    error.stack,
    JSON.stringify(error),
    JSON.stringify({ ...error }),
    everythingOf(error.cause),
  ].join();
}

function expectNoSecret(host: OAuthHost, ...shown: unknown[]): void {
  const text = shown.map(everythingOf).join();
  expect(host.secrets.size).toBeGreaterThan(0);
  for (const secret of host.secrets) expect(text).not.toContain(secret);
}

describe('a person must consent', () => {
  test('the failure says where; then the host finishes with auth() and connects again', async () => {
    await using host = await listenOAuth();
    const provider = new MemoryProvider();
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const where = { serverUrl: host.url, resourceMetadataUrl: host.resourceMetadataUrl, scope: 'mcp:use' };
    const failure = await failureOf(connect(gateway));
    expect(failure).toMatchObject({ data: { code: 'AUTH_REQUIRED', status: 401, delivered: false, auth: where } });
    expect(provider.asked).toBe(1);
    expect(provider.address?.origin).toBe(host.origin);

    const authorizationCode = await host.consent(provider.address, 'ada');
    await auth(provider, { serverUrl: where.serverUrl, authorizationCode });
    expect(await call(await connect(gateway))).toBe('ada');
    // Asked for once, registered once.
    expect(provider.asked).toBe(1);
    expect(host.counts.get('register')).toBe(1);
    expectNoSecret(host, failure, gateway.status());
  });

  test('of a provider that is frozen, too', async () => {
    await using host = await listenOAuth();
    const own = new MemoryProvider();
    const { redirectUrl, clientMetadata } = own;
    const redirectToAuthorization = (address: URL) => own.redirectToAuthorization(address);
    const methods = ['clientInformation', 'saveClientInformation', 'tokens', 'saveTokens', 'saveCodeVerifier'] as const;
    const bound = Object.fromEntries(methods.map((name) => [name, own[name].bind(own)]));
    const provider = Object.freeze({ redirectUrl, clientMetadata, redirectToAuthorization, ...bound });
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider as unknown as MemoryProvider });
    expect(await failureOf(connect(gateway))).toMatchObject({ data: { code: 'AUTH_REQUIRED' } });
    expect(own.asked).toBe(1);
  });

  test('without a provider the remedy is named, and where to ask', async () => {
    await using host = await listenOAuth();
    await using gateway = createRemoteGateway(host.url, {});
    const failure = await failureOf(connect(gateway));
    expect(failure).toMatchObject({
      message: expect.stringMatching(/headers\.Authorization.*authProvider/),
      data: { code: 'AUTH_REQUIRED', auth: { serverUrl: host.url, resourceMetadataUrl: host.resourceMetadataUrl } },
    });
  });

  test('a refresh token that is no longer good: consent again', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    provider.saveTokens({ ...provider.tokens(), refresh_token: 'of-another-time' } as never);
    Object.assign(provider, {
      invalidateCredentials: () => provider.saveTokens(undefined as never),
    });
    host.expire();
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    expect(await failureOf(connect(gateway))).toMatchObject({ data: { code: 'AUTH_REQUIRED' } });
    expect(host.counts.get('token refresh_token')).toBe(1);
    expect(provider.asked).toBe(2);
  });
});

describe('access that is not enough', () => {
  test('403 with insufficient_scope asks a person for more, and a call after that works', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const client = await connect(gateway);
    const failure = await failureOf(call(client, 'admin'));
    expect(failure).toMatchObject({
      data: { code: 'AUTH_REQUIRED', status: 403, delivered: false, auth: { scope: 'mcp:use mcp:admin' } },
    });
    expect(provider.address?.searchParams.get('scope')).toBe('mcp:use mcp:admin');
    // What was granted before still is.
    expect(await call(client)).toBe('ada');

    const authorizationCode = await host.consent(provider.address, 'ada');
    await auth(provider, { serverUrl: host.url, authorizationCode });
    expect(await call(client, 'admin')).toBe('ada may');
    expectNoSecret(host, failure);
  });

  test('of which the server names what is missing alone: what was granted before is asked for as well', async () => {
    await using host = await listenOAuth();
    host.neededScope = 'mcp:admin';
    const provider = await signedIn(host, 'ada', 'mcp:use mcp:read');
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const client = await connect(gateway);
    const scope = 'mcp:use mcp:read mcp:admin';
    expect(await failureOf(call(client, 'admin'))).toMatchObject({ data: { code: 'AUTH_REQUIRED', auth: { scope } } });
    expect(provider.address?.searchParams.get('scope')).toBe(scope);
    const authorizationCode = await host.consent(provider.address, 'ada');
    await auth(provider, { serverUrl: host.url, authorizationCode });
    expect(provider.tokens()?.scope).toBe(scope);
    expect(await call(client, 'admin')).toBe('ada may');
  });

  test('of which the server names what is missing alone, still after it was granted: the error tells of what is held as well', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada', 'mcp:use mcp:read');
    const { authorizer } = gated(host, provider);
    const header = 'Bearer error="insufficient_scope", scope="mcp:admin"';
    const granted = { status: 403, header, mayAsk: true, chances: new Set<Chance>(['granted']) };
    expect(
      await failureOf(authorizer.refused({ ...granted, token: await authorizer.token() }, 'POST a')),
    ).toMatchObject({ code: 'AUTH_REQUIRED', status: 403, auth: { scope: 'mcp:use mcp:read mcp:admin' } });
  });

  test('and a token that has expired as well: it is renewed, and then a person is asked for more', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const client = await connect(gateway);
    host.expire();
    expect(await failureOf(call(client, 'admin'))).toMatchObject({
      message: expect.stringContaining('(HTTP 403): a person has to consent'),
      data: { code: 'AUTH_REQUIRED', status: 403, delivered: false, auth: { scope: 'mcp:use mcp:admin' } },
    });
    expect([host.counts.get('token refresh_token'), provider.asked]).toEqual([1, 2]);
    expect(provider.address?.searchParams.get('scope')).toBe('mcp:use mcp:admin');
  });

  test.each([
    ['is enough: nobody is asked', 'mcp:use mcp:admin', { succeeded: 'ada may' }, [403, 200], 0],
    ['is not enough either: a person is asked', 'mcp:use', { data: { code: 'AUTH_REQUIRED' } }, [403, 403], 1],
  ])('told when there is a newer token already, which %s', async (_which, scope, outcome, statuses, asked) => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    const newer = await signedIn(host, 'ada', scope);
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const client = await connect(gateway);
    const before = provider.asked;
    const answered: number[] = [];
    host.server.prependListener('request', ({ method }: IncomingMessage, response: ServerResponse) => {
      if (method !== 'POST') return;
      if (answered.length === 0) provider.saveTokens(newer.tokens() as never);
      response.once('finish', () => answered.push(response.statusCode));
    });
    expect(await failureOf(call(client, 'admin'))).toMatchObject(outcome);
    // What the authorization server is asked comes after.
    expect(answered.slice(0, 2)).toEqual(statuses);
    expect(provider.asked - before).toBe(asked);
  });

  test('told while another request has its token renewed: it waits for that, and does not take it for its own', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    const { authorizer, asked, goOn } = gated(host, provider);
    const token = await authorizer.token();
    const scope = { status: 403, header: 'Bearer error="insufficient_scope", scope="mcp:use mcp:admin"', mayAsk: true };
    const expired = { status: 401, header: undefined, mayAsk: true, chances: new Set<Chance>() };
    const renewed = authorizer.refused({ ...expired, token }, 'POST a');
    await asked;
    const refused = authorizer.refused({ ...scope, token, chances: new Set() }, 'POST b');
    goOn();
    expect(await Promise.all([renewed, refused])).toEqual(['granted', 'newer']);
    expect(provider.asked).toBe(1);
    const again = { ...scope, token: await authorizer.token(), chances: new Set<Chance>(['newer']) };
    expect(await failureOf(authorizer.refused(again, 'POST b'))).toMatchObject({
      code: 'AUTH_REQUIRED',
      status: 403,
      auth: { scope: 'mcp:use mcp:admin' },
    });
    expect(provider.address?.searchParams.get('scope')).toBe('mcp:use mcp:admin');
  });
});

describe('a token that has expired', () => {
  test('20 requests at once are refused: one refresh, and all are answered', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const client = await connect(gateway);
    await call(client);
    host.expire();
    const answers = await Promise.all(Array.from({ length: 20 }, () => call(client)));
    expect(answers).toEqual(Array(20).fill('ada'));
    expect(host.counts.get('token refresh_token')).toBe(1);
    // Refused requests were not executed.
    expect(host.calls).toHaveLength(21);
  });

  test('two connections of one caller share the refresh as well', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const clients = [await connect(gateway), await connect(gateway)];
    host.expire();
    await Promise.all(clients.flatMap((client) => [call(client), call(client)]));
    expect(host.counts.get('token refresh_token')).toBe(1);
  });

  test('the refresh fails, and the host can give no tokens any more: AUTH_FAILED all the same', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const client = await connect(gateway);
    host.expire();
    host.refuseTokens = () => {
      provider.tokens = () => {
        throw new Error('vault is sealed');
      };
      return { error: 'invalid_request', error_description: 'the token is locked' };
    };
    expect(await failureOf(call(client))).toMatchObject({
      message: expect.stringContaining('is locked'),
      data: { code: 'AUTH_FAILED', delivered: false },
    });
  });

  test.each([
    'is locked',
    // As when another process has renewed it.
    'was used before',
  ])(
    'the refresh fails, and the authorization server repeats the token, which %s: AUTH_FAILED, which does not',
    async (what) => {
      await using host = await listenOAuth();
      const provider = await signedIn(host, 'ada');
      const events: unknown[] = [];
      await using gateway = createRemoteGateway(host.url, { authProvider: () => provider }, events);
      const client = await connect(gateway);
      host.expire();
      host.refuseTokens = (sent) => {
        if (what === 'was used before')
          provider.saveTokens({ access_token: 'of another process', token_type: 'Bearer' });
        return { error: 'invalid_request', error_description: `the token ${sent.get('refresh_token')} ${what}` };
      };
      const failure = await failureOf(call(client));
      expect(failure).toMatchObject({
        message: expect.stringContaining(what),
        data: { code: 'AUTH_FAILED', delivered: false },
      });
      expectNoSecret(host, failure, events, gateway.status());
    },
  );

  test('nor the secret of the client, nor the rest of a token that begins with another', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    const client_secret = 'secret of "the" client';
    const known = provider.clientInformation();
    provider.clientInformation = () => ({ ...known, client_id: known?.client_id ?? '', client_secret });
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const client = await connect(gateway);
    provider.saveTokens({ access_token: 'canary', refresh_token: 'canary-to-refresh', token_type: 'Bearer' });
    host.expire();
    host.refuseTokens = (sent) => {
      sent.set('client_secret', client_secret);
      return { error: 'invalid_request', error_description: `I got ${sent}` };
    };
    const failure = await failureOf(call(client));
    expect(failure).toMatchObject({ data: { code: 'AUTH_FAILED' } });
    const shown = everythingOf(failure);
    expect(shown).toMatch(/refresh_token=\*\*\*&.*client_secret=\*\*\*/);
    expect(shown).not.toMatch(/secret.of|-to-refresh/);
  });

  test('the failure is told as well where the provider says null of a token and a secret that are not there', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
    const client = await connect(gateway);
    host.expire();
    host.refuseTokens = () => {
      const nothing = { access_token: null, refresh_token: null };
      Object.assign(provider, { tokens: () => nothing, clientInformation: () => ({ client_secret: null }) });
      return { error: 'invalid_request', error_description: 'the account is locked' };
    };
    expect(await failureOf(call(client))).toMatchObject({
      message: expect.stringContaining('the account is locked'),
      data: { code: 'AUTH_FAILED', delivered: false },
    });
  });

  test('a server that refuses each new token is not asked for ever', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using server = await listenScripted(({ response }) => response.writeHead(401).end());
    // The metadata is the other host's.
    Object.assign(provider, { discoveryState: () => ({ authorizationServerUrl: host.origin }) });
    await using gateway = createRemoteGateway(server.url, { authProvider: () => provider });
    expect(await failureOf(connect(gateway))).toMatchObject({ data: { code: 'AUTH_REQUIRED', status: 401 } });
    expect(server.count('initialize')).toBe(2);
  });
});

describe('what no caller has asked for', () => {
  /** A session past any gateway, of a person who has consented. */
  async function open(host: OAuthHost, provider: MemoryProvider) {
    const runtime = new RemoteSseRuntime({ authProvider: () => provider });
    const transport = await runtime.open({ url: host.url, transport: 'streamable-http' }, createRuntimeContext());
    const peer = new Peer(transport, 60_000);
    await peer.begin();
    return {
      peer,
      health: () => failureOf(transport.health?.(new AbortController().signal) ?? Promise.reject()),
      async [Symbol.asyncDispose]() {
        await peer.close();
        await runtime.close();
      },
    };
  }

  /** From now on a person has to consent. */
  function expire(host: OAuthHost, provider: MemoryProvider): void {
    host.expire();
    provider.saveTokens({ ...provider.tokens(), refresh_token: undefined } as never);
  }

  test('asks nobody to consent, and disturbs no consent that is under way', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    const listening = Promise.withResolvers<ServerResponse>();
    host.server.on('request', ({ method, url }: IncomingMessage, response: ServerResponse) => {
      if (method === 'GET' && url === '/mcp') listening.resolve(response);
    });
    await using session = await open(host, provider);
    const { peer, health } = session;
    const stream = await listening.promise;
    expire(host, provider);
    expect(await failureOf(peer.call('whoami'))).toMatchObject({ code: 'AUTH_REQUIRED' });
    expect(provider.asked).toBe(2);
    expect(await health()).toMatchObject({ code: 'AUTH_REQUIRED', status: 401, auth: { serverUrl: host.url } });
    expect(await failureOf(peer.request('ping'))).toMatchObject({ code: 'AUTH_REQUIRED' });
    // The stream for what belongs to no request is cut, and opened again.
    stream.destroy();
    await peer.until('the refusal of the stream', () => peer.errors.length > 0);
    expect(peer.errors).toMatchObject([{ code: 'AUTH_REQUIRED' }]);
    expect(provider.asked).toBe(2);
    // The code is good only with what was kept for it.
    await auth(provider, { serverUrl: host.url, authorizationCode: await host.consent(provider.address, 'ada') });
    expect(await peer.call('whoami')).toBe('ada');
  });

  test('health checks that are refused until a person has consented end no session', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    const events: GatewayEvent[] = [];
    const health = { interval: '20ms', failures: 2 };
    await using gateway = createGateway(
      { servers: [{ id: 'remote', health, runtime: { type: 'remote-sse', url: host.url } }] },
      { runtimes: [new RemoteSseRuntime({ authProvider: () => provider })], onEvent: (event) => events.push(event) },
    );
    const client = new Client({ name: 'test', version: '1' });
    await client.connect(gateway.connect());
    expect(await call(client, 'remote__whoami')).toBe('ada');
    expire(host, provider);
    await vi.waitFor(() => expect(host.counts.get('refused') ?? 0).toBeGreaterThan(6), 60_000);
    expect(events.filter(({ type }) => type === 'phase').at(-1)).toMatchObject({ to: 'ready' });
    expect(gateway.status('remote')).toMatchObject({ phase: 'ready', restarts: 0 });
    expect(provider.asked).toBe(1);
    await auth(provider, { serverUrl: host.url });
    await auth(provider, { serverUrl: host.url, authorizationCode: await host.consent(provider.address, 'ada') });
    expect(await call(client, 'remote__whoami')).toBe('ada');
  });

  test('renews a token all the same', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using session = await open(host, provider);
    host.expire();
    expect(await session.health()).toEqual({ succeeded: undefined });
    expect(host.counts.get('token refresh_token')).toBe(1);
  });

  test('asks nobody when the token cannot be renewed just now', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using session = await open(host, provider);
    host.expire();
    // The SDK goes on to ask a person.
    host.refuseTokens = () => ({ error: 'server_error', error_description: 'not today' });
    expect(await session.health()).toMatchObject({ code: 'AUTH_REQUIRED' });
    expect([host.counts.get('token refresh_token'), provider.asked]).toEqual([1, 1]);
  });

  test('does not keep a caller who came meanwhile from asking', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    host.refuseTokens = () => ({ error: 'server_error', error_description: 'not today' });
    const { authorizer, asked, goOn } = gated(host, provider);
    const token = await authorizer.token();
    const challenge = { status: 401, header: undefined, token, chances: new Set<Chance>() };
    const background = failureOf(authorizer.refused({ ...challenge, mayAsk: false }, 'GET'));
    await asked;
    const callers = ['a', 'b'].map((name) => failureOf(authorizer.refused({ ...challenge, mayAsk: true }, name)));
    goOn();
    expect(await background).toMatchObject({ code: 'AUTH_REQUIRED' });
    expect(await Promise.all(callers)).toMatchObject([{ code: 'AUTH_REQUIRED' }, { code: 'AUTH_REQUIRED' }]);
    expect(provider.asked).toBe(2);
  });

  test('waits for no person whom the host still asks', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    expire(host, provider);
    const asked = Promise.withResolvers<void>();
    const clicked = Promise.withResolvers<void>();
    provider.redirectToAuthorization = async () => {
      asked.resolve();
      await clicked.promise;
    };
    const authorizer = new Authorizers().create('remote', new URL(host.url), provider, fetch);
    const challenge = { status: 401, header: undefined, token: await authorizer.token(), chances: new Set<Chance>() };
    const caller = failureOf(authorizer.refused({ ...challenge, mayAsk: true }, 'POST tools/call'));
    const before = failureOf(authorizer.refused({ ...challenge, mayAsk: false }, 'POST ping'));
    await asked.promise;
    expect(await before).toMatchObject({ code: 'AUTH_REQUIRED' });
    expect(await failureOf(authorizer.refused({ ...challenge, mayAsk: false }, 'POST ping'))).toMatchObject({
      code: 'AUTH_REQUIRED',
      status: 401,
    });
    clicked.resolve();
    expect(await caller).toMatchObject({ code: 'AUTH_REQUIRED' });
  });

  test('the end of a session that is refused is the end', async () => {
    await using host = await listenOAuth();
    const provider = await signedIn(host, 'ada');
    await using session = await open(host, provider);
    host.expire();
    await session.peer.close();
    expect([host.counts.get('refused'), provider.asked]).toEqual([1, 1]);
    expect(host.counts.get('token refresh_token')).toBeUndefined();
    expect(session.peer.errors).toEqual([]);
  });
});

test('each caller has a provider, and no token reaches the session of another', async () => {
  await using host = await listenOAuth();
  const providers = new Map([
    ['ada', await signedIn(host, 'ada')],
    ['bob', await signedIn(host, 'bob')],
  ]);
  await using gateway = createRemoteGateway(host.url, { authProvider: (_, caller) => providers.get(caller?.id ?? '') });
  const ada = await connect(gateway, 'ada');
  const bob = await connect(gateway, 'bob');
  for (let round = 0; round < 3; round += 1) {
    const answers = await Promise.all(Array.from({ length: 10 }, (_, index) => call(index % 2 === 0 ? ada : bob)));
    expect(answers).toEqual(Array.from({ length: 10 }, (_, index) => (index % 2 === 0 ? 'ada' : 'bob')));
    host.expire();
  }
  // Those without a provider get nothing of theirs.
  expect(await failureOf(connect(gateway, 'eve'))).toMatchObject({ data: { code: 'AUTH_REQUIRED' } });
});

describe('what the host gives', () => {
  test('headers of a function: for each server and caller, before each request, over those of the catalog', async () => {
    await using host = await listenScripted();
    let number = 0;
    const runtime = new RemoteSseRuntime({
      headers: async (server, caller) => {
        number += 1;
        return { 'X-Who': `${server} ${caller?.id}`, 'X-Number': String(number) };
      },
    });
    const headers = { 'X-Who': 'the catalog', 'X-Kept': 'yes' };
    await using gateway = createGateway(
      { servers: [{ id: 'remote', runtime: { type: 'remote-sse', url: host.url, headers } }] },
      { runtimes: [runtime] },
    );
    await call(await connect(gateway, 'ada'));
    const posts = host.seen.filter(({ method }) => method === 'POST').map((seen) => seen.headers);
    expect(posts.map((sent) => [sent['x-who'], sent['x-kept']])).toEqual(posts.map(() => ['remote ada', 'yes']));
    expect(new Set(posts.map((sent) => sent['x-number'])).size).toBe(posts.length);
  });

  test.each([
    ['fails', () => Promise.reject(new Error('vault is sealed'))],
    ['gives no header', () => ({ 'X-Broken': 'a\r\nX-More: b' })],
    ['sets a header of the protocol', () => ({ 'Mcp-Session-Id': 'mine' })],
    ['gives no object', () => null as never],
  ] as [string, NonNullable<RemoteSseOptions['headers']>][])(
    'a headers function that %s: AUTH_FAILED, and nothing is sent',
    async (_, headers) => {
      await using host = await listenScripted();
      await using gateway = createRemoteGateway(host.url, { headers });
      expect(await failureOf(connect(gateway))).toMatchObject({ data: { code: 'AUTH_FAILED', delivered: false } });
      expect(host.seen).toEqual([]);
    },
  );

  test('an authProvider function that fails: AUTH_FAILED, and nothing is sent', async () => {
    await using host = await listenScripted();
    const authProvider = () => {
      throw new Error('no such caller');
    };
    await using gateway = createRemoteGateway(host.url, { authProvider });
    expect(await failureOf(gateway.connect('remote').start())).toMatchObject({ code: 'AUTH_FAILED' });
    expect(await gateway.check()).toMatchObject([{ ok: false, problems: [expect.stringContaining('authProvider')] }]);
    expect(host.seen).toEqual([]);
  });

  test('a server that repeats a header of the host in its error: the message does not', async () => {
    const secret = 'canary-of-the-host';
    await using host = await listenScripted(({ request, response }) =>
      response.writeHead(500, { 'content-type': 'text/plain' }).end(`I got ${request.headers['x-key']}`),
    );
    await using gateway = createRemoteGateway(host.url, { headers: () => ({ 'X-Key': secret }) });
    const failure = await failureOf(connect(gateway));
    expect(everythingOf(failure)).toContain('I got ***');
    expect(everythingOf(failure)).not.toContain(secret);
    expect(JSON.stringify(gateway.status())).not.toContain(secret);
  });

  test('nor where a part of it is another header, and it stands there as JSON', async () => {
    const secret = 'key-"canary"-of-the-host';
    await using host = await listenScripted(({ request, response }) =>
      response.writeHead(500).end(`I got ${request.headers['x-key']} in ${JSON.stringify(request.headers)}`),
    );
    const headers = () => ({ 'X-Team': 'canary', 'X-Key': secret });
    await using gateway = createRemoteGateway(host.url, { headers });
    const failure = await failureOf(connect(gateway));
    expect(everythingOf(failure)).toContain('I got *** in {');
    expect(everythingOf(failure)).not.toContain('-of-the-host');
  });
});

describe('where authorization may go', () => {
  test.each([
    ['straight', undefined],
    ['past a proxy that is set for https alone', 'http://127.0.0.1:9'],
  ])('a name that leads to a link-local address once it was judged is not connected to: %s', async (_way, proxy) => {
    for (const name of ['http_proxy', 'HTTP_PROXY', 'https_proxy']) vi.stubEnv(name, undefined);
    vi.stubEnv('HTTPS_PROXY', proxy);
    onTestFinished(() => void vi.unstubAllEnvs());
    await using host = await listenScripted(({ path, response }) => {
      const about = `http://localhost:${new URL(host.url).port}/about`;
      if (path === '/about') return false;
      return response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${about}"` }).end();
    });
    const found = [
      { address: '127.0.0.1', family: 4 },
      { address: '169.254.169.254', family: 4 },
    ];
    const lookUp = (_name: string, _options: object, tell: (error: null, addresses: typeof found) => void) =>
      void setImmediate(tell, null, found);
    using looked = vi.spyOn(dns, 'lookup').mockImplementation(lookUp as typeof dns.lookup);
    await using gateway = createRemoteGateway(host.url, { authProvider: () => new MemoryProvider() });
    expect(await failureOf(connect(gateway))).toMatchObject({ data: { code: 'AUTH_FAILED' } });
    expect(looked).toHaveBeenCalled();
    expect(host.seen.map(({ path }) => path)).not.toContain('/about');
  });

  test.each(['http://169.254.169.254/about', 'file:///etc/passwd', 'http://[fe80::1]/about'])(
    'metadata at %s is not asked for',
    async (address) => {
      await using host = await listenScripted(({ response }) =>
        response.writeHead(401, { 'www-authenticate': `Bearer resource_metadata="${address}"` }).end(),
      );
      const provider = new MemoryProvider();
      await using gateway = createRemoteGateway(host.url, { authProvider: () => provider });
      const failure = await failureOf(connect(gateway));
      expect(failure).toMatchObject({ data: { code: expect.stringMatching(/^AUTH_/) } });
      expect(provider.asked).toBe(0);
    },
  );

  test.each(['169.254.169.254', '[::ffff:169.254.169.254]', '[64:ff9b::169.254.169.254]', '[fe80::1]', '[febf::1]'])(
    'nothing is sent to %s, a link-local address',
    async (host) => {
      let dispatched = 0;
      const dispatcher = { dispatch: () => (dispatched += 1) };
      const asked = createAuthFetch(dispatcher as never)(`http://${host}/about`);
      await expect(asked).rejects.toThrow(/is refused: it is a link-local address/);
      expect(dispatched).toBe(0);
    },
  );

  test.each([
    ['that nobody listens at', undefined, (port: number) => `nobody listens at 127.0.0.1:${port}`],
    ['that fetch() refuses', 6000, (port: number) => `fetch() refuses port ${port}, as browsers do; use another port`],
  ])('an authorization server at a port %s is told as that', async (_, given, why) => {
    const port = given ?? (await freePort());
    await using host = await listen(({ url }, response) => {
      if (!url?.startsWith('/.well-known/oauth-protected-resource')) return response.writeHead(401).end();
      const authorization_servers = [`http://127.0.0.1:${port}`];
      return sendJson(response, { resource: `${host.origin}/mcp`, authorization_servers });
    });
    await using gateway = createRemoteGateway(`${host.origin}/mcp`, { authProvider: () => new MemoryProvider() });
    expect(await failureOf(connect(gateway))).toMatchObject({
      message: expect.stringContaining(`authorization failed: http://127.0.0.1:${port}/register: ${why(port)}`),
      data: { code: 'AUTH_FAILED' },
    });
  });

  test('an answer that does not end is given up, also when its request was collected as garbage', async () => {
    await using host = await listen((_, response) => void response.writeHead(200).write('{'));
    const agent = new Agent();
    const asked = createAuthFetch(agent, 500)(host.origin);
    const collecting = setInterval(collectGarbage, 20);
    try {
      await expect(asked).rejects.toMatchObject({ name: 'TimeoutError' });
    } finally {
      clearInterval(collecting);
      await agent.destroy();
    }
  });

  test('headers of the catalog do not go to the authorization server', async () => {
    await using host = await listenOAuth();
    const seen: (string | undefined)[] = [];
    host.server.prependListener('request', (request) => {
      if (request.url !== '/mcp') seen.push(request.headers['x-key'] as string | undefined);
    });
    const provider = new MemoryProvider();
    await using gateway = createRemoteGateway(host.url, {
      authProvider: () => provider,
      headers: () => ({ 'X-Key': 'for-the-server' }),
    });
    await failureOf(connect(gateway));
    expect(seen.length).toBeGreaterThan(2);
    expect(seen.every((value) => value === undefined)).toBe(true);
  });
});
