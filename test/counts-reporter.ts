import { writeSync } from 'node:fs';
import type { Reporter, SerializedError, TestModule } from 'vitest/node';

/**
 * Ends the output of a run with one plain line: `N passed, N failed, N skipped`.
 *
 * A file that cannot be loaded and an error outside of every test count as a failure each: a run that did not do what it
 * was asked to must not look whole.
 */
export class CountsReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandled: readonly SerializedError[]): void {
    const counts = { passed: 0, failed: unhandled.length, skipped: 0, pending: 0 };
    for (const module of modules) {
      counts.failed += module.errors().length;
      for (const suite of module.children.allSuites()) counts.failed += suite.errors().length;
      for (const test of module.children.allTests()) counts[test.result().state] += 1;
    }
    // A test without a result was asked for and did not run to its end.
    const failed = counts.failed + counts.pending;
    // Other reporters write until the process ends, and the line is the last one.
    process.once('exit', () => {
      if (failed > 0 || counts.passed === 0) process.exitCode ||= 1;
      writeSync(1, `${counts.passed} passed, ${failed} failed, ${counts.skipped} skipped\n`);
    });
  }
}
