import type { GatewayErrorCode } from './errors.js';
import type { RuntimeProgress } from './runtime.js';

/**
 * What an instance is doing. `idle` is the resting state and healthy: the server starts when somebody needs it.
 * `failed` and `crash-loop` wait for the next try.
 */
export type Phase = 'idle' | 'pulling' | 'starting' | 'ready' | 'stopping' | 'failed' | 'crash-loop';

/** An instance went from one phase to another. */
export interface PhaseEvent {
  readonly type: 'phase';
  /** Id of the catalog entry. */
  readonly server: string;
  /** Id of the instance, as in the status. */
  readonly instance: string;
  /** The phase that it has left. */
  readonly from: Phase;
  /** The phase that it is in now. */
  readonly to: Phase;
  /** Why, when the reason is a failure; secrets of the catalog are replaced. */
  readonly reason?: { readonly code: GatewayErrorCode; readonly message: string } | undefined;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** A pull or start has come further. */
export interface ProgressEvent {
  readonly type: 'progress';
  /** Id of the catalog entry. */
  readonly server: string;
  /** Id of the instance, as in the status. */
  readonly instance: string;
  /** What the instance is doing. */
  readonly phase: 'pulling' | 'starting';
  /** How far it has come; secrets of the catalog are replaced. */
  readonly progress: RuntimeProgress;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** Something went wrong that ended nothing, such as a line on stdout that is no message. */
export interface TroubleEvent {
  readonly type: 'trouble';
  /** Id of the catalog entry. */
  readonly server: string;
  /** Id of the instance, as in the status. */
  readonly instance: string;
  /** `UNKNOWN` for an error that is none of this library's. */
  readonly code: GatewayErrorCode | 'UNKNOWN';
  /** For people; secrets of the catalog are replaced. */
  readonly message: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** A merged list lacks the part of one server. */
export interface ListIncompleteEvent {
  readonly type: 'list-incomplete';
  /** Id of the catalog entry. */
  readonly server: string;
  /** Which of the lists. */
  readonly list: 'tools' | 'prompts' | 'resources' | 'resourceTemplates';
  /** Why it is missing; secrets of the catalog are replaced. */
  readonly reason: { readonly code: GatewayErrorCode | 'UNKNOWN'; readonly message: string };
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** A server offers a URI that an earlier one of the catalog offers too; the merged peer shows it under an alias. */
export interface UriConflictEvent {
  readonly type: 'uri-conflict';
  /** Id of the catalog entry. */
  readonly server: string;
  /** As the server offers it; secrets of the catalog are replaced. */
  readonly uri: string;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

/** What a gateway tells its host. Events hold no message payloads and no secrets of the catalog. */
export type GatewayEvent = PhaseEvent | ProgressEvent | TroubleEvent | ListIncompleteEvent | UriConflictEvent;
