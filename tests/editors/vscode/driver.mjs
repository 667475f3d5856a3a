// Drives a VS Code workbench in a browser: one JSON object per line on stdin, one answer per line.
// node driver.mjs MODULES CHROMIUM; MODULES is a package.json beside playwright-core.
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';

const [modules, executablePath] = process.argv.slice(2);
const { chromium } = createRequire(modules)('playwright-core');
const browser = await chromium.launch({
  executablePath,
  headless: true,
  // For a container without GPU and without outside network.
  args: [
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
  ],
});
const size = { width: 1100, height: 640 };
const context = await browser.newContext({
  viewport: size,
  permissions: ['clipboard-read', 'clipboard-write'],
});
const page = await context.newPage();
// Leaving a window with unsaved text asks; nobody is there to answer.
page.on('dialog', (dialog) => dialog.accept());

/** Texts on the screen have no-break spaces for spaces. */
const plain = (texts) => texts.map((text) => text.replaceAll('\u00a0', ' '));

const texts = async (selector) =>
  plain(await page.$$eval(selector, (found) => found.map((each) => each.textContent)));

const commands = {
  async open({ url, shown }) {
    await page.goto(url);
    await page.waitForSelector(shown, { timeout: 120_000 });
    await page.click(shown);
  },
  leave: () => page.goto('about:blank'),
  resize: ({ height }) => page.setViewportSize({ ...size, height: height ?? size.height }),
  click: ({ selector }) => page.click(selector, { timeout: 60_000 }),
  // By script, without waiting: nothing happens where it is disabled.
  clickNow: ({ selector }) => page.locator(selector).first().evaluate((found) => found.click()),
  texts: ({ selector }) => texts(selector),
  /** Put text in as if it were pasted: nothing is indented or closed on the way. */
  insert: ({ text }) => page.keyboard.insertText(text),
  clipboard: () => page.evaluate(() => navigator.clipboard.readText()),
  focus: () => page.click('.editor-group-container .monaco-editor .view-lines'),
  press: ({ keys }) => page.keyboard.press(keys),
  type: ({ text, delay }) => page.keyboard.type(text, { delay }),
  ghosts: () => texts('.ghost-text-decoration, .ghost-text-decoration-preview'),
  /** What the active tab says of its file. */
  tab: () =>
    page.$$eval('.tab.active', ([tab]) => tab?.getAttribute('aria-label') ?? tab?.textContent ?? ''),
  /** The lines on the screen, ghost text included. */
  lines: async () =>
    plain(
      await page.$$eval('.editor-group-container .view-lines > .view-line', (lines) =>
        lines
          .sort((a, b) => parseInt(a.style.top) - parseInt(b.style.top))
          .map((line) => line.textContent),
      ),
    ),
  status: () =>
    page.$$eval('.statusbar-item[id*="nemodiff.status"]', ([item]) =>
      item === undefined
        ? null
        : {
            text: item.textContent.trim(),
            label: item.querySelector('a')?.getAttribute('aria-label') ?? '',
            icons: [...item.querySelectorAll('.codicon')].map((icon) => icon.className),
          },
    ),
  clickStatus: () => page.click('.statusbar-item[id*="nemodiff.status"] a'),
  /** Rows of the open quick pick. */
  choices: async () =>
    plain(
      await page.$$eval('.quick-input-widget .quick-input-list .monaco-list-row', (rows) =>
        rows.map((row) => row.getAttribute('aria-label') ?? row.textContent),
      ),
    ),
  messages: () => texts('.notifications-toasts .notification-list-item-message'),
  buttons: () => texts('.notifications-toasts .monaco-button'),
  clickButton: ({ label }) =>
    page.click(`.notifications-toasts .monaco-button >> text="${label}"`, { timeout: 60_000 }),
  /** The rows of the list of running extensions. */
  extensions: () => texts('.runtime-extensions-editor .monaco-list-row'),
  screenshot: ({ path }) => page.screenshot({ path }),
};

for await (const line of createInterface({ input: process.stdin })) {
  const { command, ...given } = JSON.parse(line);
  if (command === 'close') {
    break;
  }
  try {
    const value = (await commands[command](given)) ?? null;
    process.stdout.write(`${JSON.stringify({ value })}\n`);
  } catch (error) {
    process.stdout.write(`${JSON.stringify({ error: String(error) })}\n`);
  }
}
await browser.close();
process.exit(0);
