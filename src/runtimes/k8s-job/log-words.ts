import { isMessage } from './early-output.js';

/**
 * What a log holds besides messages, as far as that is certain: Kubernetes keeps stdout and stderr in one log, and who may read
 * the words of a server may not read its answers to others.
 *
 * A whole message shows that stdout stands at the start of a line. From there on words are words, until something may be a
 * message or a piece of one.
 *
 * @param log - the end of a log; it may begin within a message
 * @param answered - whether the server has written anything to stdout; before that it cannot have answered others
 */
export function wordsOf(log: string, answered: boolean): string {
  let certain = !answered;
  let words = '';
  for (const line of log.split(/(?<=\n)/)) {
    if (isMessage(line)) {
      certain = true;
    } else {
      certain &&= !line.includes('{');
      if (certain) words += line;
    }
  }
  return words;
}
