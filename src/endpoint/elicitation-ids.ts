import type { RpcError } from '../instance/exchanges.js';
import { type Fields, isFields } from '../util/fields.js';
import { OwnedIds } from './owned-ids.js';

/** A page has to be seen before the request is good (revision 2025-11-25, "URL Mode Elicitation"). */
const pagesNeeded = -32042;

/** Gives the pages that servers want a caller to see ids that no two of its servers share: by them it is told that one is done. */
export class ElicitationIds {
  // Made for the first of them, which for most of many callers never comes.
  #ids: OwnedIds | undefined;

  /** What a server says of a page, under the id that the caller knows. */
  translate<T extends Fields>(server: string, page: T): T {
    const { elicitationId } = page;
    if (typeof elicitationId !== 'string') {
      return page;
    }
    this.#ids ??= new OwnedIds();
    const shown = this.#ids.see(server, elicitationId);
    return shown === elicitationId ? page : { ...page, elicitationId: shown };
  }

  /** The same for an error of a server, which may name several. */
  translateError(server: string, error: RpcError): RpcError {
    const { code, data } = error;
    if (code !== pagesNeeded || !isFields(data) || !Array.isArray(data.elicitations)) {
      return error;
    }
    const given: readonly unknown[] = data.elicitations;
    const elicitations = given.map((page) => (isFields(page) ? this.translate(server, page) : page));
    const isSame = elicitations.every((page, index) => page === given[index]);
    return isSame ? error : { ...error, data: { ...data, elicitations } };
  }
}
