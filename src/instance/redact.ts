import { GatewayError } from '../errors.js';

/** Replaces secrets in texts and errors. */
export interface Redactor {
  text(text: string): string;
  /** An error without secrets: the same one when it holds none, else a copy whose cause keeps name and message alone. */
  error(error: GatewayError): GatewayError;
}

/** @param secrets - each secret value, and what stands in its place, such as `${DB_PASSWORD}` */
export function createRedactor(secrets: ReadonlyMap<string, string>): Redactor {
  // Longest first: one secret may be part of another.
  const entries = [...secrets].sort(([a], [b]) => b.length - a.length);
  const text = (value: string) => entries.reduce((result, [secret, name]) => result.replaceAll(secret, name), value);
  return {
    text,
    error(error) {
      if (entries.length === 0) {
        return error;
      }
      const { code, server, exit, issues, delivered, status, cause } = error;
      const prefix = server === undefined ? '' : `"${server}": `;
      const message = error.message.startsWith(prefix) ? error.message.slice(prefix.length) : error.message;
      return new GatewayError(code, text(message), {
        server,
        exit: exit && { ...exit, stderrTail: text(exit.stderrTail) },
        issues,
        delivered,
        status,
        cause: cause === undefined ? undefined : withoutSecrets(cause, text),
      });
    },
  };
}

// Errors of the system and of libraries carry arguments and headers in properties of their own.
function withoutSecrets(cause: unknown, text: (value: string) => string): unknown {
  if (!(cause instanceof Error)) {
    return text(String(cause));
  }
  const copy = new Error(text(cause.message));
  copy.name = cause.name;
  return copy;
}
