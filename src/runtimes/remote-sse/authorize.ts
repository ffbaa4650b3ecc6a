import { type AuthInfo, GatewayError } from '../../errors.js';
import { loadAuth, type OAuthClientProvider } from '../../sdk.js';
import type { Authorizer, Challenge } from '../../transport/http/exchange.js';
import { showUrl } from '../../transport/http/status.js';

type Auth = Awaited<ReturnType<typeof loadAuth>>;
type AuthFetch = NonNullable<Parameters<Auth['auth']>[1]['fetchFn']>;

/**
 * Answers a server's wish for authorization with the SDK's OAuth client. There is no OAuth of our own.
 *
 * Requests that are refused at once share one authorization: a refresh token that rotates works only once.
 */
export class Authorizers {
  readonly #running = new WeakMap<OAuthClientProvider, Map<string, Promise<void>>>();

  create(server: string, url: URL, provider: OAuthClientProvider | undefined, fetchFn: AuthFetch): Authorizer {
    const token = async () => {
      if (provider === undefined) return undefined;
      try {
        const tokens = await provider.tokens();
        return tokens === undefined ? undefined : `Bearer ${tokens.access_token}`;
      } catch (cause) {
        throw failed(server, 'the authProvider of the host could not give its tokens', cause);
      }
    };
    return {
      token,
      refused: async (challenge, step) => {
        const { info, sdk } = await describe(challenge, url);
        const asked = `${step}: the server asks for authorization (HTTP ${challenge.status})`;
        if (provider === undefined || sdk === undefined) {
          const remedy = 'set headers.Authorization, or give an authProvider to the runtime';
          throw required(server, `${asked}; ${remedy}`, challenge.status, info);
        }
        if (challenge.tries > 1) {
          throw required(server, `${asked}, still after it was granted`, challenge.status, info);
        }
        // Somebody else has got a new one meanwhile.
        if (challenge.status === 401 && (await token()) !== challenge.token) return;
        await this.#once(provider, info, async () => {
          let result: string;
          try {
            const { scope, resourceMetadataUrl } = info;
            result = await sdk.auth(challenge.status === 403 ? withoutTokens(provider) : provider, {
              serverUrl: info.serverUrl,
              fetchFn,
              ...(scope !== undefined && { scope }),
              ...(resourceMetadataUrl !== undefined && { resourceMetadataUrl: new URL(resourceMetadataUrl) }),
            });
          } catch (cause) {
            throw await unauthorized(server, `${asked}, and authorization failed`, cause, provider);
          }
          if (result !== 'AUTHORIZED') {
            const remedy = "a person has to consent; finish with the SDK's auth(), then connect again";
            throw required(server, `${asked}: ${remedy}`, challenge.status, info);
          }
        });
      },
    };
  }

  #once(provider: OAuthClientProvider, { serverUrl }: AuthInfo, run: () => Promise<void>): Promise<void> {
    const running = this.#running.get(provider) ?? new Map<string, Promise<void>>();
    this.#running.set(provider, running);
    let current = running.get(serverUrl);
    if (current === undefined) {
      current = run().finally(() => running.delete(serverUrl));
      running.set(serverUrl, current);
    }
    return current;
  }
}

/** What the server says of who grants access, as the SDK reads it. */
async function describe(challenge: Challenge, url: URL): Promise<{ info: AuthInfo; sdk: Auth | undefined }> {
  const serverUrl = showUrl(url);
  const sdk = await loadAuth().catch(() => undefined);
  if (sdk === undefined || challenge.header === undefined) return { info: { serverUrl }, sdk };
  const headers = { 'www-authenticate': challenge.header };
  const { resourceMetadataUrl, scope } = sdk.extractWWWAuthenticateParams(new Response(null, { headers }));
  const info: AuthInfo = {
    serverUrl,
    ...(resourceMetadataUrl !== undefined && { resourceMetadataUrl: resourceMetadataUrl.href }),
    ...(scope !== undefined && { scope }),
  };
  return { info, sdk };
}

function required(server: string, message: string, status: number, auth: AuthInfo): GatewayError {
  return new GatewayError('AUTH_REQUIRED', message, { server, status, auth, delivered: false });
}

function failed(server: string, message: string, cause: unknown): GatewayError {
  return new GatewayError('AUTH_FAILED', message, { server, cause, delivered: false });
}

/** The same provider, whose tokens do not grant enough: a refresh would give the same again. */
function withoutTokens(provider: OAuthClientProvider): OAuthClientProvider {
  return new Proxy(provider, {
    get(target, name) {
      if (name === 'tokens') return () => undefined;
      const value: unknown = Reflect.get(target, name, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** An authorization server may repeat in its refusal what it was sent. */
async function unauthorized(server: string, what: string, cause: unknown, provider: OAuthClientProvider) {
  const tokens = await (async () => provider.tokens())().catch(() => undefined);
  const secrets = [tokens?.access_token, tokens?.refresh_token].filter((value) => value !== undefined && value !== '');
  const message = cause instanceof Error ? cause.message : String(cause);
  const hidden = secrets.reduce<string>((text, value) => text.replaceAll(value as string, '***'), message);
  return failed(server, `${what}: ${hidden}`, hidden === message ? cause : new Error(hidden));
}
