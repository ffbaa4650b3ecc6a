import { closeSync, openSync } from 'node:fs';

/** Leaves this process so many descriptors, as under a low `ulimit -n`. @returns what gives it all of them again */
export function leaveDescriptors(left: number): () => void {
  const held: number[] = [];
  try {
    for (;;) held.push(openSync('/dev/null', 'r'));
  } catch {
    for (const descriptor of held.splice(held.length - left)) closeSync(descriptor);
  }
  return () => {
    for (const descriptor of held) closeSync(descriptor);
  };
}
