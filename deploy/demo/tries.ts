// What the demo prints: a token for each common set of scopes, and one line a thing to try. Every line
// works when pasted into a shell.

export type DemoToken = {
  readonly name: string
  readonly scopes: readonly string[]
  /** Who would hold it. */
  readonly purpose: string
}

/** The tokens that the demo makes. */
export const demoTokens = [
  {
    name: 'reader',
    scopes: ['source:read', 'containers:read', 'devices:read', 'targets:read', 'ci:read'],
    purpose: 'reads everything, changes nothing',
  },
  {
    name: 'developer',
    scopes: ['source:read-update', 'source:create'],
    purpose: 'pushes to the git server, and makes branches and tags',
  },
  {
    name: 'builder',
    scopes: ['containers:read-update', 'ci:read-update', 'source:read'],
    purpose: 'a CI job: pulls sources, pushes images',
  },
  {
    name: 'operator',
    scopes: ['devices:read-update', 'devices:delete', 'targets:read-update'],
    purpose: 'configures and removes devices',
  },
] as const satisfies readonly DemoToken[]

export type DemoTokenName = (typeof demoTokens)[number]['name']

export type Try = {
  /** What it shows. */
  readonly says: string
  /** One line for a shell. */
  readonly command: string
}

/** The things to try, in the order in which they work: a clone comes before a push from it. */
export function thingsToTry(
  origin: string,
  secrets: Readonly<Record<DemoTokenName, string>>,
  withRegistry: boolean,
): readonly Try[] {
  const { host } = new URL(origin)
  const hello = (token: string): string => `http://user:${token}@${host}/acme/hello.git`
  const author = '-c user.name=Ada -c user.email=ada@example.com'
  const git: Try[] = [
    { says: 'Clone', command: `git clone ${hello(secrets.reader)}` },
    {
      says: 'Push a commit: the token stands in the URL as the password',
      command: `git -C hello ${author} commit -q --allow-empty -m Try && git -C hello push ${hello(secrets.developer)} main`,
    },
    {
      says: 'Refused: the reader may not push (403, "token lacks scope …")',
      command: `git -C hello push ${hello(secrets.reader)} main:refs/heads/topic`,
    },
    {
      says: 'Refused: the developer may not rewrite what was pushed ("forced update")',
      command: `git -C hello ${author} commit -q --allow-empty --amend -m Rewritten && git -C hello push --force ${hello(secrets.developer)} main`,
    },
    {
      says: 'Refused: the developer may create and update, but not delete ("! [remote rejected]")',
      command: `git -C hello push ${hello(secrets.developer)} :refs/heads/main`,
    },
  ]
  const rest: Try[] = [
    {
      says: 'List the devices: a REST client sends the token in the header that it always sent',
      command: `curl -H "OSF-TOKEN: ${secrets.reader}" "${origin}/ota/devices/?factory=acme"`,
    },
    {
      says: 'Change the configuration of a device',
      command: `curl -X PATCH -H "OSF-TOKEN: ${secrets.operator}" -H "Content-Type: application/json" -d '{"reason":"try"}' ${origin}/ota/devices/gateway-2/config/`,
    },
    {
      says: 'Refused: the reader may not delete (403, application/problem+json)',
      command: `curl -i -X DELETE -H "OSF-TOKEN: ${secrets.reader}" ${origin}/ota/devices/camera-1/`,
    },
    {
      says: 'Delete a device',
      command: `curl -i -X DELETE -H "OSF-TOKEN: ${secrets.operator}" ${origin}/ota/devices/camera-1/`,
    },
    { says: 'Refused: no token (401)', command: `curl -i ${origin}/ota/devices/gateway-2/` },
  ]
  const image = `docker://${host}/acme/hello`
  const plainHttp = '--src-tls-verify=false --dest-tls-verify=false'
  const credentials = (token: string): string =>
    `--src-creds user:${token} --dest-creds user:${token}`
  const registry: Try[] = [
    { says: 'Log in with docker', command: `docker login ${host} -u user -p ${secrets.builder}` },
    {
      says: 'Pull an image into a folder',
      command: `skopeo copy --src-tls-verify=false --src-creds user:${secrets.reader} ${image}:latest dir:hello-image`,
    },
    {
      says: 'Push an image',
      command: `skopeo copy ${plainHttp} ${credentials(secrets.builder)} ${image}:latest ${image}:copied`,
    },
    {
      says: 'Refused: the reader may not push ("denied: …")',
      command: `skopeo copy ${plainHttp} ${credentials(secrets.reader)} ${image}:latest ${image}:refused`,
    },
  ]
  return [...git, ...rest, ...(withRegistry ? registry : [])]
}
