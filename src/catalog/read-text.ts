import type { Position } from './source.js';

/** A problem of a text, before anything is known about what it means. */
export interface TextProblem {
  /** Where in the data; empty for the text itself. */
  readonly path: readonly PropertyKey[];
  readonly message: string;
  readonly position: Position;
  readonly atKey?: boolean;
}

/** What was read from YAML or JSON. */
export interface ReadText {
  /** Objects have no prototype and everything is frozen. Undefined when the text could not be parsed. */
  readonly data: unknown;
  /** What is wrong with the text; a part of `data` with a problem is missing there. */
  readonly problems: readonly TextProblem[];
}

/** How much of one text is looked at. */
export const textLimits = {
  /** Levels of nesting. */
  depth: 64,
  /** Keys of one object. */
  keys: 1000,
  /** Problems of one text; the rest follows from them. */
  problems: 100,
} as const;
