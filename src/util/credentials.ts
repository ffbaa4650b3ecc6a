// Shorter values are found in every message: replacing them would only spoil the text.
const shortest = 4;

const credentialWords =
  /pass(?:word|wd|phrase)|secret|token|credential|authorization|cookie|api[_-]?key|(?:access|private|signing|encryption|account|auth)[_-]?key/i;
const credentialSegments = /(?:^|[_-])(?:pwd|pass|auth|pat|bearer)(?:$|[_-])|[_-]key$/i;

/** Does a key of this name usually hold a credential? */
export function looksLikeCredential(key: string): boolean {
  return credentialWords.test(key) || credentialSegments.test(key);
}

/** Is what stands at `path` a credential, by its key? Elsewhere a key with "secret" in it names one that lives somewhere else. */
export function holdsCredential(path: readonly PropertyKey[]): boolean {
  const holder = path.at(-2);
  return (holder === 'env' || holder === 'headers') && looksLikeCredential(String(path.at(-1)));
}

/** Adds a value that must not show, and what stands for it; the first name of a value counts. */
export function addSecret(secrets: Map<string, string>, value: string, name: string): void {
  if (value.length >= shortest && !secrets.has(value)) {
    secrets.set(value, `\${${name}}`);
  }
}

/** Adds the value of a key that holds a credential. */
export function addCredential(secrets: Map<string, string>, key: string, value: string): void {
  addSecret(secrets, value, key);
  // "Bearer abc": the part after the scheme is the secret.
  const credential = /^[A-Za-z]+ +(\S+)$/.exec(value.slice(0, 8192))?.[1];
  if (credential !== undefined) {
    addSecret(secrets, credential, key);
  }
}

/** Adds the password of a URL: as a URL has it, as it was written, and as it is. */
export function addPassword(secrets: Map<string, string>, key: string, value: string): void {
  if (value.includes('://') && URL.canParse(value)) {
    const { password } = new URL(value);
    const written = /:\/\/[^:/?#]*:([^/?#]*)@/.exec(value)?.[1] ?? '';
    for (const form of [password, written, decode(password)]) {
      addSecret(secrets, form, `${key} password`);
    }
  }
}

/** What must not show of these variables: values whose names say that they are credentials, and passwords in URLs. */
export function secretsOf(env: Readonly<Record<string, string>>): Map<string, string> {
  const secrets = new Map<string, string>();
  for (const [key, value] of Object.entries(env)) {
    if (looksLikeCredential(key)) {
      addCredential(secrets, key, value);
    }
    addPassword(secrets, key, value);
  }
  return secrets;
}

function decode(password: string): string {
  try {
    return decodeURIComponent(password);
  } catch {
    // A "%" that stands for itself.
    return password;
  }
}
