import * as v from 'valibot';
import { durationProblem, parseDuration } from '../../util/quantity.js';

const withoutNul = v.check((value: string) => !value.includes('\0'), 'holds a NUL character');

/** Without a rule of its own for what it may hold. */
export const textSchema = v.pipe(v.string(), v.nonEmpty('is empty; leave it out or give it a value'), withoutNul);

/** The arguments of a program. */
export const argsSchema = v.array(v.pipe(v.string(), withoutNul));

/** As `500ms`, `30s` or `5m`. */
export const durationSchema = v.pipe(
  v.string(durationProblem),
  v.check((value) => parseDuration(value) !== undefined, durationProblem),
);
