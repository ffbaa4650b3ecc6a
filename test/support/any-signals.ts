import { onTestFinished } from 'vitest';

/** The signals that `AbortSignal.any` is given until the test ends, each time: what it keeps in one, Node 22 never lets go. */
export function recordAnySignals(): AbortSignal[] {
  const { any } = AbortSignal;
  onTestFinished(() => {
    AbortSignal.any = any;
  });
  const sources: AbortSignal[] = [];
  AbortSignal.any = (signals) => {
    sources.push(...signals);
    return any.call(AbortSignal, signals);
  };
  return sources;
}
