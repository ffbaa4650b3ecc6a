import { homedir } from 'node:os';

/** The user's folder; `/`, as container runtimes say, where HOME is not set and the system does not know the user. */
export function homeFolder(): string {
  try {
    return homedir();
  } catch {
    return '/';
  }
}
