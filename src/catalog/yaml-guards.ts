import type { CST, Parser } from 'yaml';
import { textLimits } from './read-text.js';

// A line of a catalog has about eight tokens: this is the largest text twice over.
const mostTokens = 400_000;
// The parser looks at all blanks and comments in a row again for each one that is added.
const mostBlanks = 4096;

/** The syntax of a text, or where and why reading stopped. */
export type Guarded = { readonly tokens: readonly CST.Token[] } | { readonly offset: number; readonly message: string };

/**
 * Runs the first stage of the parser, which uses no recursion, and watches it token by token. What passes is shallow
 * and small enough for the second stage, which would otherwise run out of stack (and, done repeatedly, abort the
 * process) on deep nesting.
 */
export function readGuarded(text: string, parser: Parser): Guarded {
  const tokens: CST.Token[] = [];
  let count = 0;
  let documents = 0;
  const collect = (found: Iterable<CST.Token>): string | undefined => {
    for (const token of found) {
      tokens.push(token);
      if (token.type === 'document' && ++documents > 1) {
        return 'a catalog is one document: remove the "---" between documents';
      }
      if (token.type === 'directive') {
        return 'directives are not supported: remove the line that begins with "%"';
      }
      if (token.type === 'error' && tokens.length > textLimits.problems) {
        return 'is not YAML';
      }
    }
    return undefined;
  };
  // The lexer is the parser's own; the types hide it.
  const { lexer } = parser as unknown as { readonly lexer: { lex(text: string): Iterable<string> } };
  for (const lexeme of lexer.lex(text)) {
    const stop = collect(parser.next(lexeme)) ?? limitPassed(parser, ++count);
    if (stop !== undefined) {
      return { offset: Math.min(parser.offset, text.length), message: stop };
    }
  }
  const stop = collect(parser.end());
  return stop === undefined ? { tokens } : { offset: text.length, message: stop };
}

function limitPassed(parser: Parser, count: number): string | undefined {
  if (parser.stack.length > textLimits.depth + 2) {
    return `is nested more than ${textLimits.depth} levels deep`;
  }
  if (count > mostTokens) {
    return 'has too many parts: split it';
  }
  const top = parser.stack.at(-1);
  if (isMap(top) && top.items.length > 2 * textLimits.keys) {
    return `has more than ${textLimits.keys} keys`;
  }
  if (blanksOf(top) > mostBlanks) {
    return 'has too many empty lines, comments or marks in a row: remove some';
  }
  return undefined;
}

// Comments and empty lines may count as items here; the exact number is looked at when the data are read.
function isMap(token: CST.Token | undefined): token is CST.BlockMap | CST.FlowCollection {
  return token?.type === 'block-map' || (token?.type === 'flow-collection' && token.start.source === '{');
}

function blanksOf(token: CST.Token | undefined): number {
  switch (token?.type) {
    case 'block-map':
    case 'block-seq':
    case 'flow-collection': {
      const item = token.items.at(-1);
      return Math.max(item?.start.length ?? 0, item?.sep?.length ?? 0);
    }
    case 'document':
      return Math.max(token.start.length, token.end?.length ?? 0);
    case 'scalar':
    case 'alias':
    case 'single-quoted-scalar':
    case 'double-quoted-scalar':
      return token.end?.length ?? 0;
    case 'block-scalar':
      return token.props.length;
    default:
      return 0;
  }
}
