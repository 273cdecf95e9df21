#!/usr/bin/env node
// Where the program begins. This one file is JavaScript: the compile cache is on before the first file has
// its types stripped, for which Node would load a compiler that takes a fifth of the whole start; and a Node
// that is too old says so.

import module from 'node:module'
import { fileURLToPath } from 'node:url'

const nodeMajorMin = 24

if (Number.parseInt(process.versions.node, 10) < nodeMajorMin) {
  process.stderr.write(
    `scopegate: this is Node ${process.versions.node}; Scopegate needs 24.21 or later. In the repository ` +
      '`npm ci` brings one: start with `npm start` or `npm run -s scopegate -- COMMAND`.\n',
  )
  process.exit(1)
}

// Never the system's folder for temporary files: what others can write there would be run here. Where the
// folder cannot be written to, Node does without. Workers inherit it.
process.env.NODE_COMPILE_CACHE ??= fileURLToPath(
  new URL('../node_modules/.cache/compile', import.meta.url),
)
module.enableCompileCache(process.env.NODE_COMPILE_CACHE)

await import('./cli.ts')
