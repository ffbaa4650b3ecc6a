import { type AuthInfo, GatewayError } from '../../errors.js';
import { loadAuth, type OAuthClientProvider } from '../../sdk.js';
import type { Authorizer, Challenge } from '../../transport/http/exchange.js';
import { showUrl } from '../../transport/http/status.js';
import { redact } from '../../util/redact.js';
import { textOf } from '../../util/text-of.js';
import { NobodyToAsk, needsPerson, type Tokens, telling, withoutPerson, withoutTokens } from './provider-views.js';

type Auth = Awaited<ReturnType<typeof loadAuth>>;
type AuthFetch = NonNullable<Parameters<Auth['auth']>[1]['fetchFn']>;

/**
 * Answers a server's wish for authorization with the SDK's OAuth client. There is no OAuth of our own.
 *
 * Requests that are refused at once for the same reason share one authorization: a refresh token that rotates works only
 * once. Those refused for another reason wait for it, and are judged by what it brought.
 */
export class Authorizers {
  /** One at a time for each provider and server. */
  readonly #running = new WeakMap<OAuthClientProvider, Map<string, Running>>();

  create(server: string, url: URL, provider: OAuthClientProvider | undefined, fetchFn: AuthFetch): Authorizer {
    const held = async () => {
      try {
        return await provider?.tokens();
      } catch (cause) {
        throw failed(server, 'the authProvider of the host could not give its tokens', cause);
      }
    };
    const token = async () => toHeader(await held());
    return {
      token,
      refused: async (challenge, step) => {
        const { info, sdk } = await describe(challenge, url);
        const asked = `${step}: the server asks for authorization (HTTP ${challenge.status})`;
        if (provider === undefined || sdk === undefined) {
          const remedy = 'set headers.Authorization, or give an authProvider to the runtime';
          throw required(server, `${asked}; ${remedy}`, challenge.status, info);
        }
        const { status, mayAsk, chances } = challenge;
        let tokens = await held();
        const wanted = () => (status === 403 ? withHeldScope(info, tokens) : info);
        if (chances.has('granted')) {
          throw required(server, `${asked}, still after it was granted`, status, wanted());
        }
        const consent = (remedy: string) =>
          required(server, `${asked}: a person has to consent; ${remedy}`, status, wanted());
        const unasked = 'the next request of a caller asks for that';
        const reason = status === 403 ? `scope ${info.scope ?? ''}` : 'token';
        const running = this.#runningOf(provider);
        for (;;) {
          // Somebody else has got a new one meanwhile.
          if (!chances.has('newer') && toHeader(tokens) !== challenge.token) return 'newer';
          const current = running.get(info.serverUrl);
          if (current === undefined) {
            if (!mayAsk && (status === 403 || needsPerson(provider, tokens))) throw consent(unasked);
            break;
          }
          if (!mayAsk && (await asksPerson(current))) throw consent(unasked);
          if (await share(current, reason, mayAsk)) return 'granted';
          tokens = await held();
        }
        const asking = Promise.withResolvers<true>();
        const authorize = async () => {
          const asker = mayAsk ? telling(provider, () => asking.resolve(true)) : withoutPerson(provider);
          const given = status === 403 ? withoutTokens(asker) : asker;
          let result: string;
          try {
            result = await sdk.auth(given, toAuthOptions(wanted(), fetchFn));
          } catch (cause) {
            if (cause instanceof NobodyToAsk) throw consent(unasked);
            throw await unauthorized(server, `${asked}, and authorization failed`, cause, provider, tokens);
          }
          if (result !== 'AUTHORIZED') throw consent("finish with the SDK's auth(), then connect again");
        };
        const done = authorize().finally(() => running.delete(info.serverUrl));
        running.set(info.serverUrl, { reason, mayAsk, asking: asking.promise, done });
        await done;
        return 'granted';
      },
    };
  }

  #runningOf(provider: OAuthClientProvider): Map<string, Running> {
    const running = this.#running.get(provider) ?? new Map<string, Running>();
    this.#running.set(provider, running);
    return running;
  }
}

/** An authorization that is under way. */
interface Running {
  /** What it is to mend: a token that is not good any more, or a scope that is missing. */
  readonly reason: string;
  readonly mayAsk: boolean;
  /** Resolves when a person is asked. */
  readonly asking: Promise<true>;
  readonly done: Promise<void>;
}

/** Whether a person is asked before it is over. */
function asksPerson({ asking, done }: Running): Promise<boolean> {
  const over = () => false;
  return Promise.race([asking, done.then(over, over)]);
}

/** Waits for an authorization. True when it was for the same reason; false when it has to be judged anew what is to be done. */
async function share(current: Running, reason: string, mayAsk: boolean): Promise<boolean> {
  const isSame = current.reason === reason;
  try {
    await current.done;
  } catch (error) {
    // What could not be done without a person may be done now.
    if (isSame && (current.mayAsk || !mayAsk || !isRequired(error))) throw error;
    return false;
  }
  return isSame;
}

function toAuthOptions({ serverUrl, scope, resourceMetadataUrl }: AuthInfo, fetchFn: AuthFetch) {
  return {
    serverUrl,
    fetchFn,
    ...(scope !== undefined && { scope }),
    ...(resourceMetadataUrl !== undefined && { resourceMetadataUrl: new URL(resourceMetadataUrl) }),
  };
}

/** A server may name the scope alone that is missing: the token that takes the place of the held one grants that one's as well. */
function withHeldScope(info: AuthInfo, tokens: Tokens): AuthInfo {
  if (info.scope === undefined || tokens?.scope === undefined) return info;
  const scopes = `${tokens.scope} ${info.scope}`.split(' ').filter((scope) => scope !== '');
  return { ...info, scope: [...new Set(scopes)].join(' ') };
}

function toHeader(tokens: Tokens): string | undefined {
  return tokens && `Bearer ${tokens.access_token}`;
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

function isRequired(error: unknown): boolean {
  return GatewayError.is(error) && error.code === 'AUTH_REQUIRED';
}

function failed(server: string, message: string, cause: unknown): GatewayError {
  return new GatewayError('AUTH_FAILED', message, { server, cause, delivered: false });
}

/** An authorization server may repeat in its refusal what it was sent: what the host held then, and may hold no more. */
async function unauthorized(server: string, what: string, cause: unknown, provider: OAuthClientProvider, held: Tokens) {
  const ask = <T>(question: () => T) => (async () => question())().catch(() => undefined);
  const now = await ask(() => provider.tokens());
  const client = await ask(() => provider.clientInformation());
  const sent = [held, now].flatMap((tokens) => [tokens?.access_token, tokens?.refresh_token]);
  // Hosts without a compiler may say null.
  const secrets = [...sent, client?.client_secret].filter(Boolean);
  const message = textOf(cause);
  const hidden = redact(message, new Map(secrets.map((value) => [value as string, '***'])));
  return failed(server, `${what}: ${hidden}`, hidden === message ? cause : new Error(hidden));
}
