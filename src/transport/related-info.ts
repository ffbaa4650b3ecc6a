import type { MessageExtraInfo, RequestId } from '../sdk.js';

/** Tells with which of our requests a message came, where each has a stream of its own. */
export type RelatedInfo = MessageExtraInfo & { readonly relatedRequestId?: RequestId | undefined };
