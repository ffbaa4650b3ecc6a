import type { JSONRPCNotification } from '../sdk.js';

/**
 * What one caller is subscribed to, by server: the server's URI, and the forms in which the caller asked for it.
 */
export class Subscriptions {
  readonly #forms = new Map<string, Map<string, Set<string>>>();

  add(server: string, uri: string, form: string): void {
    const byUri = this.#forms.get(server) ?? new Map<string, Set<string>>();
    this.#forms.set(server, byUri.set(uri, (byUri.get(uri) ?? new Set()).add(form)));
  }

  remove(server: string, uri: string, form: string): void {
    const byUri = this.#forms.get(server);
    const forms = byUri?.get(uri);
    forms?.delete(form);
    if (forms?.size === 0) {
      byUri?.delete(uri);
    }
    if (byUri?.size === 0) {
      this.#forms.delete(server);
    }
  }

  /** The server's URIs that the caller is subscribed to. */
  of(server: string): string[] {
    return [...(this.#forms.get(server)?.keys() ?? [])];
  }

  /** Whether the caller is subscribed to a URI in another form as well. */
  hasOther(server: string, uri: string, form: string): boolean {
    const forms = this.#forms.get(server)?.get(uri);
    return forms !== undefined && forms.size > (forms.has(form) ? 1 : 0);
  }

  /**
   * `notifications/resources/updated` as the caller is to see it: once for each form.
   *
   * @param formOf - the form of a URI that nobody subscribed to, such as a part of one
   */
  translate(server: string, message: JSONRPCNotification, formOf: (uri: string) => string): JSONRPCNotification[] {
    const uri = message.params?.uri;
    const forms = this.#forms.get(server)?.get(uri as string) ?? [typeof uri === 'string' ? formOf(uri) : uri];
    return [...forms].map((form) =>
      form === uri ? message : { ...message, params: { ...message.params, uri: form } },
    );
  }
}
