import { homedir, userInfo } from 'node:os';

/**
 * The user's folder, which the system knows where HOME is empty or not set; `/`, as container runtimes say, where it does not know
 * the user.
 */
export function homeFolder(): string {
  try {
    return homedir() || userInfo().homedir;
  } catch {
    return '/';
  }
}
