/**
 * Which of the settings the server gets, and when. The settings themselves are listed in
 * package.json alone, which `scripts/settings.py` writes from the server's own table.
 */

export const SECTION = 'nemodiff';

/** What `inspect` of VS Code tells of one setting, as far as it is of use here. */
export interface Inspected {
  readonly globalValue?: unknown;
  readonly workspaceValue?: unknown;
  readonly workspaceFolderValue?: unknown;
  readonly globalLanguageValue?: unknown;
  readonly workspaceLanguageValue?: unknown;
}

/** A section of VS Code's configuration. */
export interface Configuration {
  get(key: string): unknown;
  inspect(key: string): Inspected | undefined;
}

/** One contributed setting, as package.json has it. */
export interface Contribution {
  readonly scope?: string;
}

export interface ServerKeys {
  /** All settings of the server. */
  readonly all: readonly string[];
  /** Those that choose the engine; the server must know them before it joins one. */
  readonly engine: readonly string[];
}

const PREFIX = `${SECTION}.`;
const OWN_PREFIX = `${SECTION}.server.`;

/** The server's settings among the contributed ones: all but the extension's own. */
export function serverKeys(contributed: Readonly<Record<string, Contribution>>): ServerKeys {
  const names = Object.keys(contributed).filter(
    (name) => name.startsWith(PREFIX) && !name.startsWith(OWN_PREFIX),
  );
  const strip = (name: string): string => name.slice(PREFIX.length);
  return {
    all: names.map(strip),
    engine: names.filter((name) => contributed[name]?.scope === 'machine').map(strip),
  };
}

/**
 * The values that somebody has set. A default is not sent: it would count as the editor's wish and
 * win over the user's and the folder's own files.
 */
export function chosenValues(
  configuration: Configuration,
  keys: readonly string[],
): Record<string, unknown> {
  const chosen: Record<string, unknown> = {};
  for (const key of keys) {
    const inspected = configuration.inspect(key);
    const isChosen = [
      inspected?.globalValue,
      inspected?.workspaceValue,
      inspected?.workspaceFolderValue,
      inspected?.globalLanguageValue,
      inspected?.workspaceLanguageValue,
    ].some((value) => value !== undefined);
    const value = isChosen ? configuration.get(key) : undefined;
    if (value !== undefined && value !== null) {
      chosen[key] = value;
    }
  }
  return chosen;
}

/** The initializationOptions: the engine's settings, trust, and that we want to know the status. */
export function initializationOptions(
  configuration: Configuration,
  keys: ServerKeys,
  isTrusted: boolean,
): Record<string, unknown> {
  return {
    ...chosenValues(configuration, keys.engine),
    isTrusted,
    'nemodiff.status': true,
  };
}
