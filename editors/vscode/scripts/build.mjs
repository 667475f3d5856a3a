// Bundles the extension into dist/extension.js; with --tests the tests into out/test/.
import { readdirSync, rmSync } from 'node:fs';
import { build } from 'esbuild';

const common = { bundle: true, platform: 'node', target: 'node20', logLevel: 'warning' };

if (process.argv.includes('--tests')) {
  rmSync('out/test', { recursive: true, force: true });
  const names = readdirSync('test').filter((name) => name.endsWith('.test.ts'));
  await build({
    ...common,
    entryPoints: names.map((name) => `test/${name}`),
    format: 'esm',
    outdir: 'out/test',
    outExtension: { '.js': '.mjs' },
    alias: { vscode: './test/vscode.ts' },
  });
} else {
  await build({
    ...common,
    entryPoints: ['src/extension.ts'],
    format: 'cjs',
    external: ['vscode'],
    minify: true,
    outfile: 'dist/extension.js',
  });
}
