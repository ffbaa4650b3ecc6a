const posixNames = ['HOME', 'LANG', 'LOGNAME', 'PATH', 'SHELL', 'TERM', 'TMPDIR', 'TZ', 'USER'];
const windowsNames = [
  'APPDATA',
  'COMSPEC',
  'HOMEDRIVE',
  'HOMEPATH',
  'LOCALAPPDATA',
  'PATH',
  'PATHEXT',
  'PROCESSOR_ARCHITECTURE',
  'PROGRAMDATA',
  'PROGRAMFILES',
  'PROGRAMFILES(X86)',
  'PROGRAMW6432',
  'SYSTEMDRIVE',
  'SYSTEMROOT',
  'TEMP',
  'TMP',
  'USERNAME',
  'USERPROFILE',
  'WINDIR',
];

/** What a server inherits from its host: a short list of harmless names, all of them, or the list and some more. */
export type InheritEnv = boolean | readonly string[];

/**
 * The environment of a child process: what it may inherit, then the entry's own variables.
 *
 * @param platform - as `process.platform`; names have no case on Windows
 */
export function childEnv(
  host: NodeJS.ProcessEnv,
  entry: Readonly<Record<string, string>>,
  inherit: InheritEnv,
  platform: NodeJS.Platform,
): Record<string, string> {
  const fold = (name: string) => (platform === 'win32' ? name.toUpperCase() : name);
  const wanted = new Set(
    (platform === 'win32' ? windowsNames : posixNames).concat(Array.isArray(inherit) ? inherit : []).map(fold),
  );
  const own = new Set(Object.keys(entry).map(fold));
  const isInherited = (name: string) =>
    inherit === true || wanted.has(fold(name)) || (platform !== 'win32' && name.startsWith('LC_'));
  const env: Record<string, string> = {};
  // To read a value costs a call of the system's library: of most there is no need.
  for (const name of Object.keys(host).filter(isInherited)) {
    const value = host[name];
    // A value that begins with "()" is a shell function: bash would run it.
    if (value !== undefined && !own.has(fold(name)) && !value.startsWith('()')) {
      env[name] = value;
    }
  }
  return Object.assign(env, entry);
}

/** The PATH of an environment, however its name is spelt. */
export function pathOf(env: Readonly<Record<string, string>>, platform: NodeJS.Platform): string {
  const name = platform === 'win32' ? Object.keys(env).find((key) => key.toUpperCase() === 'PATH') : 'PATH';
  return (name === undefined ? undefined : env[name]) ?? '';
}
