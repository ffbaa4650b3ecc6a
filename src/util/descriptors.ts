import { closeSync, openSync } from 'node:fs';

// Two for each of the pipes to a server and to its guardian, and for those by which Node hears of the start of both.
const startDescriptors = 12;

/**
 * Node keeps the pipes of a start for good that fails for want of descriptors: there have to be enough of them before it.
 *
 * @throws what is made of the system's error, `EMFILE` or `ENFILE`
 */
export function assertDescriptors(toError = (error: NodeJS.ErrnoException): Error => error): void {
  if (process.platform === 'win32') {
    return;
  }
  const held: number[] = [];
  try {
    while (held.length < startDescriptors) {
      held.push(openSync('/', 'r'));
    }
  } catch (error) {
    // It may also be that nobody may look there.
    if (/^E[MN]FILE$/.test((error as NodeJS.ErrnoException).code ?? '')) {
      throw toError(error as NodeJS.ErrnoException);
    }
  } finally {
    for (const descriptor of held) {
      closeSync(descriptor);
    }
  }
}
