// As many routes as a measurement asks for, in files of their own as people would write them.

import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { scope, writeScope } from './scene.ts'

/** A file of the configuration has 1 MiB at most. */
const routesPerFile = 2_500

/** Writes them to `folder`, for the upstream `api`; the files, as `include` takes them. */
export function writeRoutes(folder: string, count: number): string[] {
  const files: string[] = []
  for (let first = 0; first < count; first += routesPerFile) {
    const file = join(folder, `routes-${first}.yaml`)
    const routes = Array.from({ length: Math.min(routesPerFile, count - first) }, (_, i) =>
      writeRoute(first + i),
    )
    writeFileSync(file, `routes:\n${routes.join('')}`)
    files.push(file)
  }
  return files
}

/** Of the route with that number, up to the item's name. */
export function routePath(route: number): string {
  return `/services/service-${route}/items/`
}

function writeRoute(route: number): string {
  return `  - path: ${routePath(route)}{item}
    upstream: api
    allow: { GET: "${scope}", PUT: "${writeScope}" }
`
}
