// A container registry as it is run behind a gateway: distribution's own, without authentication,
// deletion allowed, blobs in a folder. Knows nothing of tokens.

import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { makeFolder, plainEnvironment, removeFolder, type Server, startServer } from './lifetime.ts'
import { until } from './ready.ts'

/** A line of the registry's access log (Apache's combined format). */
export type RegistryRequest = {
  readonly method: string
  readonly uri: string
  readonly status: number
}

export type RegistryServer = {
  readonly url: string
  readonly port: number
  /** Every request that was answered before this call, in the order of the answers. */
  requests(): Promise<readonly RegistryRequest[]>
  /** All that it stores, a line each: tags, manifests, layers, what they name, blobs and open uploads. */
  stored(): readonly string[]
  stop(): Promise<void>
}

/** Starts docker-registry on a port of the system's choice. */
export async function startRegistry(): Promise<RegistryServer> {
  const folder = makeFolder('registry')
  const file = join(folder, 'registry.yml')
  const data = join(folder, 'data')
  writeFileSync(file, registryConfiguration(data))
  const server = await startServer('docker-registry', ['serve', file], {
    env: plainEnvironment({ OTEL_TRACES_EXPORTER: 'none', HOME: folder }),
  })
  const port = await until('docker-registry names its port', () => listeningPort(server))
  const url = `http://127.0.0.1:${port}`
  let markers = 0
  return {
    url,
    port,
    requests: async () => {
      // The registry writes a line before it ends a reply, so ours stands behind all earlier ones.
      const marker = `/v2/?marker=${++markers}`
      await (await fetch(`${url}${marker}`)).arrayBuffer()
      await until(
        'the marker stands in the log',
        () => server.output().includes(marker) || undefined,
      )
      return parseLog(server.output()).filter(({ uri }) => !uri.startsWith('/v2/?marker='))
    },
    stored: () => storedBelow(data),
    stop: async () => {
      await server.stop()
      removeFolder(folder)
    },
  }
}

function listeningPort(server: Server): number | undefined {
  if (server.child.exitCode !== null) {
    throw new Error(`docker-registry ended at once: ${server.output()}`)
  }
  const port = /listening on 127\.0\.0\.1:(\d+)/.exec(server.output())?.[1]
  return port === undefined ? undefined : Number(port)
}

function parseLog(output: string): RegistryRequest[] {
  return [...output.matchAll(/^\S+ - \S+ \[[^\]]+\] "(\S+) (\S+) HTTP\/[\d.]+" (\d{3}) /gm)].map(
    ([, method, uri, status]) => ({ method: method!, uri: uri!, status: Number(status) }),
  )
}

/** A link holds the digest that it names; of the other files the size tells whether they have changed. */
function storedBelow(data: string): string[] {
  const entries = readdirSync(data, { recursive: true, encoding: 'utf8' }).sort()
  return entries.flatMap((entry) => {
    const path = join(data, entry)
    if (entry.endsWith('/link')) return [`${entry} ${readFileSync(path, 'utf8')}`]
    const found = statSync(path)
    return found.isFile() ? [`${entry} ${found.size}`] : []
  })
}

function registryConfiguration(data: string): string {
  return `version: 0.1
log: { level: info, formatter: text }
storage:
  filesystem: { rootdirectory: ${data} }
  delete: { enabled: true }
  maintenance: { uploadpurging: { enabled: false } }
http: { addr: '127.0.0.1:0' }
`
}
