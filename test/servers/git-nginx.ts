// nginx as the web server of the git server: it runs git-http-backend by fcgiwrap. Requests are buffered, as
// nginx does by itself: the backend starts when the whole request is there; or they stream into the backend.

import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  type GitPaths,
  type GitRequest,
  type GitWeb,
  readLines,
  readStatus,
  startOnFreePort,
} from './git-web.ts'
import { startServer } from './lifetime.ts'

/** git-http-backends at a time. */
const backendsMax = 4

/** Starts nginx and fcgiwrap. */
export async function startNginx(paths: GitPaths, streaming: boolean): Promise<GitWeb> {
  const { folder } = paths
  const socket = join(folder, 'fcgiwrap.socket')
  const file = join(folder, 'nginx.conf')
  mkdirSync(join(folder, 'scratch'))
  const fcgiwrap = await startServer('fcgiwrap', [
    '-f',
    '-c',
    `${backendsMax}`,
    '-s',
    `unix:${socket}`,
  ])
  const { server, port } = await startOnFreePort(
    ['nginx', '-p', folder, '-c', file, '-e', 'stderr'],
    (port) => writeFileSync(file, configuration(paths, { socket, streaming, port })),
  )
  return {
    port,
    backendGroup: fcgiwrap.pid,
    // nginx counts a request as read or written from its first byte until it has written its log line; the
    // question itself is the one that is left.
    isIdle: async () =>
      /Reading: 0 Writing: 1 /.test(await readStatus(`http://127.0.0.1:${port}/-/status`)),
    records: () =>
      readLines(join(folder, 'access.log')).map((line) => JSON.parse(line) as GitRequest),
    stop: async () => {
      await server.stop()
      await fcgiwrap.stop()
    },
  }
}

type Settings = { readonly socket: string; readonly streaming: boolean; readonly port: number }

function configuration(paths: GitPaths, { socket, streaming, port }: Settings): string {
  const { folder, root, backend } = paths
  return `${process.getuid?.() === 0 ? 'user root;\n' : ''}daemon off;
worker_processes 1;
pid ${folder}/nginx.pid;
error_log stderr warn;
events { worker_connections 512; }
http {
  log_format records escape=json '{"method":"$request_method","uri":"$request_uri",'
    '"status":$status,"authorization":"$http_authorization","subject":"$http_x_remote_user"}';
  access_log ${folder}/access.log records;
  client_body_temp_path ${folder}/scratch/body;
  fastcgi_temp_path ${folder}/scratch/fastcgi;
  proxy_temp_path ${folder}/scratch/proxy;
  uwsgi_temp_path ${folder}/scratch/uwsgi;
  scgi_temp_path ${folder}/scratch/scgi;
  client_max_body_size 0;
  server {
    listen 127.0.0.1:${port};
    location = /-/status { stub_status; access_log off; }
    location / {
      fastcgi_pass unix:${socket};
      fastcgi_read_timeout 300s;
      fastcgi_request_buffering ${streaming ? 'off' : 'on'};
      fastcgi_param SCRIPT_FILENAME ${backend};
      fastcgi_param GIT_PROJECT_ROOT ${root};
      fastcgi_param GIT_HTTP_EXPORT_ALL 1;
      fastcgi_param GIT_PROTOCOL $http_git_protocol;
      fastcgi_param HOME ${folder};
      fastcgi_param PATH_INFO $uri;
      fastcgi_param QUERY_STRING $query_string;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param CONTENT_TYPE $content_type;
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param HTTP_CONTENT_ENCODING $http_content_encoding;
      fastcgi_param REMOTE_USER $http_x_remote_user;
      fastcgi_param REMOTE_ADDR $remote_addr;
    }
  }
}
`
}
