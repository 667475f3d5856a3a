/** What the status bar shows for what the server tells of itself. */

export const STATUS_METHOD = 'nemodiff/didChangeStatus';

export type ServerKind = 'loading' | 'ready' | 'busy' | 'paused' | 'excluded' | 'error';
/** Beside the server's: before it runs, and when it cannot. */
export type Kind = ServerKind | 'starting' | 'missing' | 'stopped';

export interface Status {
  readonly kind: Kind;
  /** One sentence. */
  readonly message: string;
  /** Of the loading, 0 to 100. */
  readonly perCent: number | null;
  /** Why the last request showed nothing. */
  readonly nothingBecause: string | null;
}

export type Background = 'error' | 'warning' | null;

export interface StatusView {
  readonly text: string;
  readonly tooltip: string;
  readonly background: Background;
}

const SERVER_KINDS: ReadonlySet<string> = new Set([
  'loading',
  'ready',
  'busy',
  'paused',
  'excluded',
  'error',
]);

const ICONS: Readonly<Record<Kind, string>> = {
  starting: '$(loading~spin)',
  loading: '$(loading~spin)',
  ready: '$(check)',
  busy: '$(sync~spin)',
  paused: '$(debug-pause)',
  excluded: '$(circle-slash)',
  error: '$(error)',
  missing: '$(warning)',
  stopped: '$(circle-slash)',
};

export function ownStatus(kind: Kind, message: string): Status {
  return { kind, message, perCent: null, nothingBecause: null };
}

/** The status in a notification's params; null for what is none, so a newer server does no harm. */
export function readStatus(params: unknown): Status | null {
  if (typeof params !== 'object' || params === null) {
    return null;
  }
  const { kind, message, perCent, nothingBecause } = params as Record<string, unknown>;
  if (typeof kind !== 'string' || !SERVER_KINDS.has(kind) || typeof message !== 'string') {
    return null;
  }
  return {
    kind: kind as ServerKind,
    message,
    perCent: typeof perCent === 'number' ? perCent : null,
    nothingBecause: typeof nothingBecause === 'string' ? nothingBecause : null,
  };
}

export function viewOf(status: Status): StatusView {
  const isSilent = status.kind === 'ready' && status.nothingBecause !== null;
  const icon = isSilent ? '$(circle-outline)' : ICONS[status.kind];
  const perCent =
    status.kind === 'loading' && status.perCent !== null ? ` ${status.perCent} %` : '';
  return {
    text: `${icon} NemoDiff${perCent}`,
    tooltip: tooltipOf(status),
    background: background(status.kind),
  };
}

function tooltipOf(status: Status): string {
  const { message, nothingBecause } = status;
  if (nothingBecause === null || nothingBecause === message) {
    return message;
  }
  return `${message}\nNothing was shown for the last request: ${nothingBecause}`;
}

function background(kind: Kind): Background {
  if (kind === 'error') {
    return 'error';
  }
  return kind === 'missing' ? 'warning' : null;
}
