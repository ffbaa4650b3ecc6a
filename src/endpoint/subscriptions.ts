import { GatewayError } from '../errors.js';
import { toRpcError } from '../instance/error-response.js';
import type { RpcError } from '../instance/exchanges.js';
import { isPartOf } from '../instance/resource-part.js';
import type { JSONRPCNotification, RequestId } from '../sdk.js';
import { aliasUri, type ResourceOrigin } from './resource-owners.js';

/** A `resources/subscribe` or `resources/unsubscribe` of the caller that is not answered yet. */
export interface SubscriptionWord {
  /** The caller's request. */
  readonly id: RequestId;
  readonly server: string;
  /** The server's own URI. */
  readonly uri: string;
  /** The URI as the caller gave it. */
  readonly form: string;
  /** Whether it is the end of a subscription. */
  readonly isEnd: boolean;
}

/** What the caller is told of a resource that has changed. */
interface Update {
  readonly message: JSONRPCNotification;
  /** What it is subscribed to that this tells of, as it gave it. */
  readonly forms: readonly string[];
}

/** What was said of one subscription. */
interface Words {
  /** In the order in which they came. */
  readonly open: SubscriptionWord[];
  /** The last one that counted was answered by a server whose place another one has taken. */
  isOwed: boolean;
}

// Each is kept for as long as the caller stays, looked at with each update, and told to each next server.
const mostSubscriptions = 10_000;

/**
 * What one caller is subscribed to, by server: the server's URI, and the forms in which the caller asked for it. A word of the
 * caller counts from its answer on, unless a later one was answered before: a reload may have sent the two to two servers.
 */
export class Subscriptions {
  readonly #forms = new Map<string, Map<string, Set<string>>>();
  /** How many forms there are. */
  #size = 0;
  readonly #words = new Map<string, Words>();
  readonly #onOwed: (server: string, uri: string) => void;

  /** @param onOwed - the server that there is now was not told of all that counts of a URI, and nothing more is under way */
  constructor(onOwed: (server: string, uri: string) => void) {
    this.#onOwed = onOwed;
  }

  /** Why the caller gets no more of them; undefined when it does. */
  refusal(server: string): RpcError | undefined {
    if (this.#size + this.#words.size < mostSubscriptions) {
      return undefined;
    }
    const text = `the caller has ${mostSubscriptions} subscriptions, or has asked for so many`;
    const error = new GatewayError('LIMIT_REACHED', text, { server });
    return toRpcError(error, false);
  }

  /** The caller has asked for a subscription, or for its end. */
  say(word: SubscriptionWord): SubscriptionWord {
    const key = keyOf(word);
    const words = this.#words.get(key) ?? { open: [], isOwed: false };
    words.open.push(word);
    this.#words.set(key, words);
    return word;
  }

  /**
   * It was answered, or nobody waits for that any more.
   *
   * @param isSubscribed - what the caller is by that; undefined: what it was
   * @param isOwed - another server has taken the place of the one that answered
   */
  settle(word: SubscriptionWord, isSubscribed: boolean | undefined, isOwed = false): void {
    const key = keyOf(word);
    const words = this.#words.get(key);
    const index = words?.open.indexOf(word) ?? -1;
    if (words === undefined || index === -1) {
      return;
    }
    const { server, uri, form } = word;
    if (isSubscribed === undefined) {
      words.open.splice(index, 1);
    } else {
      // What was said before it counts no more.
      words.open.splice(0, index + 1);
      words.isOwed = isOwed;
      isSubscribed ? this.#add(server, uri, form) : this.#remove(server, uri, form);
    }
    if (words.open.length === 0) {
      this.#words.delete(key);
      words.isOwed && this.#onOwed(server, uri);
    }
  }

  /**
   * The caller does not wait for the answer to a request of this id.
   *
   * @returns what it has said with that, unless it has said something else of the same URI, which will be answered
   */
  cancelled(id: unknown): SubscriptionWord | undefined {
    for (const { open } of this.#words.values()) {
      const word = open.find((each) => each.id === id);
      if (word !== undefined) {
        this.settle(word, undefined);
        const { server, uri } = word;
        const left = [...this.#words.values()].flatMap((words) => words.open);
        return left.some((other) => other.server === server && other.uri === uri) ? undefined : word;
      }
    }
    return undefined;
  }

  /** Ends what the caller asked for in this form at servers that are not there. @returns whether there was any */
  drop(form: string, isThere: (server: string) => boolean): boolean {
    let found = false;
    for (const [server, byUri] of this.#forms) {
      for (const [uri, forms] of isThere(server) ? [] : byUri) {
        if (forms.has(form)) {
          found = true;
          this.#remove(server, uri, form);
        }
      }
    }
    for (const [key, { open }] of this.#words) {
      const [word] = open;
      if (word?.form === form && !isThere(word.server)) {
        found = true;
        this.#words.delete(key);
      }
    }
    return found;
  }

  /**
   * Where a subscription in this form is to be ended: at its owner, or else where the caller has asked for it. Wherever the
   * caller has asked for it besides, it ends at once.
   */
  endOthers(form: string, owner: ResourceOrigin | undefined): ResourceOrigin | undefined {
    const places = this.#placesOf(form);
    const place = places.find(({ server }) => server === owner?.server) ?? places.shift() ?? owner;
    for (const { server, uri } of places) {
      if (server !== place?.server) {
        this.#words.delete(keyOf({ server, uri, form }));
        this.#remove(server, uri, form);
        this.#onOwed(server, uri);
      }
    }
    return place;
  }

  /** Where the caller is subscribed in this form, or has just said something of it. */
  #placesOf(form: string): ResourceOrigin[] {
    const subscribed = [...this.#forms].flatMap(([server, byUri]) =>
      [...byUri].flatMap(([uri, forms]) => (forms.has(form) ? [{ server, uri }] : [])),
    );
    const said = [...this.#words.values()].flatMap(({ open }) => open.slice(0, 1)).filter((word) => word.form === form);
    return [...subscribed, ...said];
  }

  /** Whether the caller is subscribed to a URI of a server, in any form. */
  has(server: string, uri: string): boolean {
    return this.#forms.get(server)?.has(uri) === true;
  }

  /** Whether a URI of a server is one that the caller is subscribed to, or a part of one. */
  covers(server: string, uri: unknown): boolean {
    return this.of(server).some((own) => isPartOf(String(uri), own));
  }

  #add(server: string, uri: string, form: string): void {
    const byUri = this.#forms.get(server) ?? new Map<string, Set<string>>();
    const forms = byUri.get(uri) ?? new Set();
    this.#size += forms.has(form) ? 0 : 1;
    this.#forms.set(server, byUri.set(uri, forms.add(form)));
  }

  #remove(server: string, uri: string, form: string): void {
    const byUri = this.#forms.get(server);
    const forms = byUri?.get(uri);
    this.#size -= forms?.delete(form) ? 1 : 0;
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

  /** Whether the caller is subscribed to a URI in another form as well, or has just asked for that. */
  hasOther({ server, uri, form }: SubscriptionWord): boolean {
    const forms = this.#forms.get(server)?.get(uri);
    if (forms !== undefined && forms.size > (forms.has(form) ? 1 : 0)) {
      return true;
    }
    const asked = [...this.#words.values()].find(({ open }) => {
      const last = open.at(-1);
      return last?.server === server && last.uri === uri && last.form !== form && !last.isEnd;
    });
    if (asked !== undefined) {
      // Should it not be granted, nobody has told the server that it is over.
      asked.isOwed = true;
    }
    return asked !== undefined;
  }

  /**
   * `notifications/resources/updated` as the caller is to see it: once for each form.
   *
   * @param formOf - the form of a URI that nobody subscribed to, such as a part of one
   */
  translate(server: string, message: JSONRPCNotification, formOf: (uri: string) => string): Update[] {
    const uri = message.params?.uri;
    if (typeof uri !== 'string') {
      return [{ message, forms: [] }];
    }
    return [...this.#tellOf(server, uri, formOf)].map(([shown, forms]) => ({
      message: shown === uri ? message : { ...message, params: { ...message.params, uri: shown } },
      forms,
    }));
  }

  /** How a URI shows, each time with what the caller is subscribed to of which that tells. */
  #tellOf(server: string, uri: string, formOf: (uri: string) => string): Map<string, string[]> {
    const byUri = this.#forms.get(server);
    const [exact] = byUri?.get(uri) ?? [];
    const told = new Map<string, string[]>();
    for (const [own, forms] of byUri ?? []) {
      for (const form of isPartOf(uri, own) ? forms : []) {
        // A part of what the caller knows under an alias would lead to another server in its own form.
        const shown = own === uri ? form : (exact ?? (form === own ? formOf(uri) : aliasUri(server, uri)));
        const known = told.get(shown);
        known === undefined ? told.set(shown, [form]) : known.push(form);
      }
    }
    return told.size > 0 ? told : new Map([[formOf(uri), []]]);
  }
}

function keyOf({ server, uri, form }: Omit<SubscriptionWord, 'id' | 'isEnd'>): string {
  return JSON.stringify([server, uri, form]);
}
