import { isUtf8 } from 'node:buffer';
import { isPromise, isUint8Array } from 'node:util/types';
import { kindOf } from '../checks/describe-issue.js';
import { isPlainObject } from '../util/fields.js';

/** The largest catalog, in bytes of UTF-8. */
export const largestText = 1024 * 1024;

/** A text, or why there is none. */
export type Decoded = { readonly text: string } | { readonly problem: string };

/** Turns what a user handed in into text, and refuses what no parser should see. */
export function decode(input: string | Uint8Array): Decoded {
  if (typeof input !== 'string' && !isUint8Array(input)) {
    return { problem: `the catalog is ${describe(input)}` };
  }
  const bytes = typeof input === 'string' ? Buffer.byteLength(input) : input.byteLength;
  if (bytes > largestText) {
    return { problem: `the catalog is ${bytes} bytes long: at most ${largestText} (1 MiB) are allowed; split it` };
  }
  if (typeof input !== 'string') {
    if (looksLikeUtf16(input)) {
      return { problem: 'the catalog is UTF-16: save it as UTF-8' };
    }
    if (!isUtf8(input)) {
      return { problem: 'the catalog is not UTF-8: save it as UTF-8' };
    }
  }
  const decoded = typeof input === 'string' ? input : new TextDecoder('utf-8', { ignoreBOM: true }).decode(input);
  const text = decoded.startsWith('\uFEFF') ? decoded.slice(1) : decoded;
  if (text.includes('\0')) {
    const line = text.slice(0, text.indexOf('\0')).split('\n').length;
    return { problem: `the catalog holds a NUL character in line ${line}: is it a text file?` };
  }
  if (text.trim() === '') {
    return { problem: 'the catalog is empty: write "servers: []" for a catalog without servers' };
  }
  return { text };
}

/** What was given in place of a text, and what to do about it. */
function describe(input: unknown): string {
  if (isPromise(input)) {
    return 'a promise: await it';
  }
  const remedy = isPlainObject(input) ? ': createGateway takes it as it is' : '';
  return `${kindOf(input)}, not a text or its bytes (Uint8Array)${remedy}`;
}

function looksLikeUtf16(bytes: Uint8Array): boolean {
  const [first, second, third, fourth] = bytes;
  if ((first === 0xff && second === 0xfe) || (first === 0xfe && second === 0xff)) {
    return true;
  }
  // Without a mark: plain letters have every other byte 0.
  return (first !== 0 && second === 0 && third !== 0 && fourth === 0) || (first === 0 && second !== 0 && third === 0);
}
