// Location and Link values on their way to the client (RFC 9110 10.2.2, RFC 8288 3). Clients reach the
// upstream through the gateway only, so a reference that names the upstream becomes path and query.
// Pure. It must never make a reference name another host than the one it named, or the gateway.

/** `scheme://authority` or `//authority`, then the rest (RFC 3986 3). */
const absoluteReference = /^(?:(https?):)?\/\/([^/?#\\]*)(.*)$/i

/** What any client would take a scheme or a host from (also https://url.spec.whatwg.org/), then the rest. */
const foreignReference = /^(?:[a-z][a-z0-9+.-]*:[/\\]*|[/\\]{2,})[^/?#\\]*(.*)$/i

/** A URI reference of a Link value, in its angle brackets (RFC 8288 3). */
const linkTarget = /<([^<>]*)>/g

/**
 * Path and query (and fragment) of a reference that is relative or names the upstream, as the gateway's
 * clients must see it; any other value unchanged. `upstreamOrigin` is `http://host:port`; `http` and
 * `https` of one host and port are one upstream. `basePath` is the path that stands before every
 * forwarded path, without a trailing slash.
 */
export function relativeLocation(value: string, upstreamOrigin: string, basePath = ''): string {
  const parts = absoluteReference.exec(value)
  if (parts === null) return withoutBase(value, basePath) ?? value
  const [, scheme, authority = '', rest = ''] = parts
  const upstream = parseOrigin(upstreamOrigin)
  const named = parseOrigin(`${scheme ?? upstream?.protocol.slice(0, -1)}://${authority}`)
  if (upstream === undefined || named === undefined || named.host !== upstream.host) return value
  return withoutBase(rooted(rest), basePath) ?? value
}

/**
 * Path and query of a reference whose path begins with `prefix`, whatever scheme, host and port it
 * names; undefined for any other.
 */
export function pathBelow(value: string, prefix: string): string | undefined {
  const rest = absoluteReference.exec(value)?.[3] ?? value
  return rest.startsWith(prefix) ? rest : undefined
}

/**
 * Path and query of a reference, whatever scheme, host and port it names: it leads to the gateway in any
 * case. For what can only be the upstream's own, though the upstream may not know its name.
 */
export function hostlessLocation(value: string, basePath = ''): string {
  // Readers of URLs drop tabs first, and a field's value may hold them.
  const plain = value.replaceAll('\t', '')
  const rest = foreignReference.exec(plain)?.[1]
  const reference = rest === undefined ? plain : rooted(rest)
  return withoutBase(reference, basePath) ?? reference
}

/** A Link value with every target put through `rewrite`; parameters stay as they are. */
export function rewriteLinks(value: string, rewrite: (target: string) => string): string {
  return value.replace(linkTarget, (_, target: string) => `<${rewrite(target)}>`)
}

/** An empty path is `/`; a path that begins with `//` would name a host, `/.//` is the same path. */
function rooted(rest: string): string {
  const path = rest.startsWith('/') ? rest : `/${rest}`
  return /^\/[/\\]/.test(path) ? `/.${path}` : path
}

/** The reference without the upstream's base path; undefined where it stands outside of it. */
function withoutBase(reference: string, basePath: string): string | undefined {
  if (basePath === '' || !reference.startsWith('/')) return reference
  if (!reference.startsWith(basePath)) return undefined
  const rest = reference.slice(basePath.length)
  return rest === '' || /^[/?#]/.test(rest) ? rooted(rest) : undefined
}

function parseOrigin(origin: string): URL | undefined {
  const url = URL.parse(origin)
  return url === null || url.host === '' ? undefined : url
}
