// Apache as the web server of the git server: a process for each connection (mpm_prefork) that runs
// git-http-backend by mod_cgi. A request streams into the backend.

import { chmodSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type GitPaths,
  type GitRequest,
  type GitWeb,
  readLines,
  readStatus,
  startOnFreePort,
} from './git-web.ts'

/** Where Debian's apache2-bin has them. */
const modulesFolder = '/usr/lib/apache2/modules'
const modules = ['mpm_prefork', 'authz_core', 'alias', 'cgi', 'env', 'setenvif', 'status'] as const
/** Connections at a time; of these are ready at once. */
const connectionsMax = 64
const connectionsReady = 8

/** Apache does not serve as root: root becomes nobody, who may nevertheless work in root's folders. */
const asNobody = [
  ...['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'],
  ...['--inh-caps=+dac_override,+fowner', '--ambient-caps=+dac_override,+fowner'],
] as const

/** Starts Apache. */
export async function startApache(paths: GitPaths): Promise<GitWeb> {
  const { folder } = paths
  const file = join(folder, 'apache.conf')
  const command = ['apache2', '-D', 'FOREGROUND', '-d', folder, '-f', file] as const
  // git-http-backend does not ask who owns a repository, from 2.45 on what it starts does.
  writeFileSync(join(folder, '.gitconfig'), '[safe]\n\tdirectory = *\n')
  chmodSync(folder, 0o755)
  const { server, port } = await startOnFreePort(
    process.getuid?.() === 0 ? [...asNobody, ...command] : command,
    (port) => writeFileSync(file, configuration(paths, port)),
  )
  const status = `http://127.0.0.1:${port}/-/status?auto`
  return {
    port,
    backendGroup: server.pid,
    // A letter for each process: R reads a request, W serves it, L writes its log line, D asks for a name.
    // The question itself is the W that is left.
    isIdle: async () => {
      const letters = /^Scoreboard: (\S+)$/m.exec(await readStatus(status))?.[1] ?? 'R'
      return letters.replace(/[^RWLD]/g, '') === 'W'
    },
    records: () => readLines(join(folder, 'access.log')).map(parseRecord),
    stop: async () => void (await server.stop()),
  }
}

function configuration({ folder, root, backend }: GitPaths, port: number): string {
  const load = modules.map((name) => `LoadModule ${name}_module ${modulesFolder}/mod_${name}.so`)
  const record =
    '{\\"line\\":\\"%r\\",\\"status\\":%>s,' +
    '\\"authorization\\":\\"%{Authorization}i\\",\\"subject\\":\\"%{X-Remote-User}i\\"}'
  return `${load.join('\n')}
ServerName 127.0.0.1
Listen 127.0.0.1:${port}
PidFile ${folder}/apache.pid
DefaultRuntimeDir ${folder}
ErrorLog ${folder}/error.log
Timeout 300
StartServers ${connectionsReady}
MinSpareServers ${connectionsReady}
MaxSpareServers ${connectionsMax}
MaxRequestWorkers ${connectionsMax}
MaxKeepAliveRequests 0
LimitRequestBody 0
SetEnv GIT_PROJECT_ROOT ${root}
SetEnv GIT_HTTP_EXPORT_ALL 1
SetEnv HOME ${folder}
SetEnvIf Git-Protocol "(.+)" GIT_PROTOCOL=$1
SetEnvIf X-Remote-User "(.+)" REMOTE_USER=$1
SetEnvIf Request_URI "^/-/status$" unrecorded
LogFormat "${record}" records
CustomLog ${folder}/access.log records env=!unrecorded
ScriptAliasMatch "^/(?!-/)(.*)$" "${backend}/$1"
<Location "/-/status">
  SetHandler server-status
</Location>
`
}

// Apache writes bytes that do not print as \xhh, and "-" for a field that was not sent.
function parseRecord(text: string): GitRequest {
  const json = text.replace(/\\(x|.)/g, (whole, letter) => (letter === 'x' ? '\\u00' : whole))
  const { line, status, authorization, subject } = JSON.parse(json) as Record<string, string>
  const [method = '', uri = ''] = String(line).split(' ')
  const sent = (value = ''): string => (value === '-' ? '' : value)
  return {
    method,
    uri,
    status: Number(status),
    authorization: sent(authorization),
    subject: sent(subject),
  }
}
