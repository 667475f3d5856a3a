/** The commands of the palette, the keys and the menu; those of the server are passed on. */

import * as vscode from 'vscode';
import { toolCommand } from './logic/discovery.js';
import { menuEntries } from './logic/menu.js';
import { run } from './processes.js';
import type { Service } from './service.js';
import { setUp } from './setup.js';
import type { StatusItem } from './statusItem.js';
import packageJson from '../package.json';

/** VS Code's own commands, under names of ours: easy to find, and with keys beside Tab. */
const EDITOR_COMMANDS: Readonly<Record<string, string>> = {
  'nemodiff.trigger': 'editor.action.inlineSuggest.trigger',
  'nemodiff.nextAlternative': 'editor.action.inlineSuggest.showNext',
  'nemodiff.previousAlternative': 'editor.action.inlineSuggest.showPrevious',
  'nemodiff.acceptWord': 'editor.action.inlineSuggest.acceptNextWord',
  'nemodiff.acceptLine': 'editor.action.inlineSuggest.acceptNextLine',
};

/** What an accepted completion carries: nobody has called it, so nobody is told if it fails. */
const DID_ACCEPT = 'nemodiff.didAccept';

/** Passed on as they are. */
const SERVER_COMMANDS = [
  'nemodiff.toggle',
  'nemodiff.restartEngine',
  'nemodiff.report',
  'nemodiff.showStatus',
];

type Handler = (...args: unknown[]) => unknown;

export function registerCommands(
  service: Service,
  item: StatusItem,
  channel: vscode.LogOutputChannel,
): vscode.Disposable[] {
  const handlers: Record<string, Handler> = {
    'nemodiff.showMenu': () => showMenu(item),
    [DID_ACCEPT]: (...args) => service.tell(DID_ACCEPT, args),
    'nemodiff.setUp': () => setUp(service, channel),
    'nemodiff.restartServer': () => service.restart(),
    'nemodiff.showLog': () => {
      channel.show();
    },
    'nemodiff.openSettings': () =>
      vscode.commands.executeCommand('workbench.action.openSettings', '@ext:nemodiff.nemodiff'),
    'nemodiff.showStatistics': () => showTool(service, channel, ['stats']),
    'nemodiff.showEngineLog': () => showTool(service, channel, ['engine', 'logs']),
    'nemodiff.toggleLanguage': () => toggleHere(service, 'language'),
    'nemodiff.toggleFile': () => toggleHere(service, 'document'),
    'nemodiff.setMode': (mode) => setMode(service, mode),
    'nemodiff.why': (...args) =>
      service.execute('nemodiff.why', args.length > 0 ? args : whereWeAre(service)),
    'nemodiff.fillHoles': (...args) =>
      service.execute('nemodiff.fillHoles', args.length > 0 ? args : holes(service)),
    'nemodiff.repairRange': (...args) =>
      service.execute('nemodiff.repairRange', args.length > 0 ? args : selection(service)),
  };
  for (const [ours, editors] of Object.entries(EDITOR_COMMANDS)) {
    handlers[ours] = () => vscode.commands.executeCommand(editors);
  }
  for (const name of SERVER_COMMANDS) {
    handlers[name] = (...args) => service.execute(name, args);
  }
  return Object.entries(handlers).map(([name, handler]) =>
    vscode.commands.registerCommand(name, handler),
  );
}

async function showMenu(item: StatusItem): Promise<void> {
  const { kind, message } = item.status;
  const languageId = vscode.window.activeTextEditor?.document.languageId ?? null;
  const chosen = await vscode.window.showQuickPick([...menuEntries({ kind, languageId })], {
    title: 'NemoDiff',
    placeHolder: message,
  });
  if (chosen !== undefined) {
    await vscode.commands.executeCommand(chosen.command, ...(chosen.arguments ?? []));
  }
}

/** The server's arguments for the active editor's document; empty when there is none. */
function whereWeAre(service: Service): object[] {
  const document = vscode.window.activeTextEditor?.document;
  return document === undefined ? [] : [{ uri: uriOf(service, document) }];
}

function uriOf(service: Service, document: vscode.TextDocument): string {
  return service.client?.code2ProtocolConverter.asUri(document.uri) ?? document.uri.toString();
}

function holes(service: Service): object[] {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) {
    return [];
  }
  const uri = uriOf(service, editor.document);
  const { selections, selection: first } = editor;
  if (selections.length > 1 && selections.every((each) => each.isEmpty)) {
    return [{ uri, positions: selections.map((each) => each.active) }];
  }
  return [first.isEmpty ? { uri } : { uri, range: rangeOf(first) }];
}

/** The selection; without one the whole line. */
function selection(service: Service): object[] {
  const editor = vscode.window.activeTextEditor;
  if (editor === undefined) {
    return [];
  }
  const { document, selection: chosen } = editor;
  const range = chosen.isEmpty ? document.lineAt(chosen.active.line).range : chosen;
  return [{ uri: uriOf(service, document), range: rangeOf(range) }];
}

function rangeOf({ start, end }: vscode.Range): object {
  return { start, end };
}

async function toggleHere(service: Service, scope: 'language' | 'document'): Promise<void> {
  const document = vscode.window.activeTextEditor?.document;
  if (document === undefined) {
    void vscode.window.showInformationMessage('NemoDiff: no file is open.');
    return;
  }
  const uri = uriOf(service, document);
  const language = document.languageId;
  await service.execute('nemodiff.toggle', [{ scope, uri, language }]);
}

async function setMode(service: Service, given: unknown): Promise<void> {
  const modes = packageJson.contributes.configuration.properties['nemodiff.mode'].enum;
  const mode =
    typeof given === 'string'
      ? given
      : await vscode.window.showQuickPick(modes, { title: 'NemoDiff: how the engine decodes' });
  if (mode !== undefined) {
    await service.execute('nemodiff.setMode', [mode]);
  }
}

/** Runs `nemodiff TOOL` of the server's installation and shows what it writes. */
async function showTool(
  service: Service,
  channel: vscode.LogOutputChannel,
  tool: readonly string[],
): Promise<void> {
  const command = service.server === null ? null : toolCommand(service.server, tool);
  if (command === null) {
    void vscode.window.showWarningMessage(
      `NemoDiff: run "nemodiff ${tool.join(' ')}" in a terminal; where it is installed is not known.`,
    );
    return;
  }
  channel.show();
  const { code } = await run(command, (line) => {
    channel.info(line);
  });
  if (code !== 0) {
    channel.error(`"nemodiff ${tool.join(' ')}" ended with code ${code}.`);
  }
}
