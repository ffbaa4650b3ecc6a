import type { OAuthClientProvider } from '../../sdk.js';

/** What a provider holds of tokens. */
export type Tokens = Awaited<ReturnType<OAuthClientProvider['tokens']>>;

/** Whether nothing but a person's consent leads to a new token. */
export function needsPerson(provider: OAuthClientProvider, tokens: Tokens): boolean {
  return Boolean(provider.redirectUrl) && tokens?.refresh_token === undefined;
}

/** The same provider, whose tokens do not grant enough: a refresh would give the same again. */
export function withoutTokens(provider: OAuthClientProvider): OAuthClientProvider {
  return withOther(provider, { tokens: () => undefined });
}

/** A person would have to be asked. */
export class NobodyToAsk extends Error {}

/** The same provider, with nobody to ask: what it keeps for a consent that is under way stays as it is. */
export function withoutPerson(provider: OAuthClientProvider): OAuthClientProvider {
  const ask = () => {
    throw new NobodyToAsk();
  };
  return withOther(provider, { state: ask, saveCodeVerifier: ask, redirectToAuthorization: ask });
}

/** The same provider, which tells when a person is asked: that may take the host as long as the person does. */
export function telling(provider: OAuthClientProvider, onAsk: () => void): OAuthClientProvider {
  const redirectToAuthorization = (address: URL) => {
    onAsk();
    return provider.redirectToAuthorization(address);
  };
  return withOther(provider, { redirectToAuthorization });
}

function withOther(provider: OAuthClientProvider, other: Partial<OAuthClientProvider>): OAuthClientProvider {
  // Of a child: the methods of a frozen object could not be replaced, nor bound.
  return new Proxy<OAuthClientProvider>(Object.create(provider), {
    get(_child, name) {
      if (Object.hasOwn(other, name)) return Reflect.get(other, name);
      const value: unknown = Reflect.get(provider, name, provider);
      return typeof value === 'function' ? value.bind(provider) : value;
    },
  });
}
