// `npm run build`: the program and all that it uses as a few files of JavaScript, which start faster and need no
// node_modules. They find package.json beside their folder. `node deploy/build.ts FOLDER`
// writes elsewhere than to dist.

import { rmSync } from 'node:fs'
import { join } from 'node:path'
import { build, type Plugin } from 'esbuild'

const project = join(import.meta.dirname, '..')
const folder = process.argv[2] ?? join(project, 'dist')

/**
 * `import` of these has Node look at everything that they export, and so load what they keep for later (promises
 * of node:fs, for example); `require` does not. A twentieth of the start.
 */
const required: Plugin = {
  name: 'required',
  setup: ({ onResolve, onLoad }) => {
    onResolve({ filter: /^node:(fs|process|util)$/ }, ({ path, kind }) =>
      kind === 'import-statement' ? { path, namespace: 'required' } : undefined,
    )
    onLoad({ filter: /.*/, namespace: 'required' }, ({ path }) => {
      return { contents: `module.exports = require(${JSON.stringify(path)})` }
    })
  },
}

// Parts of an earlier build have other names.
rmSync(folder, { recursive: true, force: true })
await build({
  absWorkingDir: project,
  // What starts as a process or a thread of its own; both are looked for beside the code that starts them.
  entryPoints: [
    'gateway/main.js',
    'gateway/workers/worker.ts',
    'gateway/protocols/git/proof-worker.ts',
    'gateway/tokens/use-worker.ts',
  ],
  outdir: folder,
  entryNames: '[name]',
  bundle: true,
  splitting: true,
  platform: 'node',
  format: 'esm',
  target: 'node24',
  legalComments: 'linked',
  logLevel: 'warning',
  plugins: [required],
  // Packages that are CommonJS load Node's own modules with it.
  banner: {
    js: `import { createRequire as createRequireOf } from 'node:module'; const require = createRequireOf(import.meta.url);`,
  },
})
