// Names, tags, digests and upload ids (OCI distribution-spec "Pulling manifests", image-spec
// descriptor.md "Digests"). Pure. What passes here holds no character that a path or query would escape,
// but the `:` of a digest, and is no dot segment.

/** As distribution bounds it (reference.RepositoryNameTotalLengthMax). */
export const repositoryNameCharsMax = 255
/** Room for any registered digest, and for unregistered ones in reason. */
const digestCharsMax = 256
const uploadIdCharsMax = 1024

const namePattern =
  /^[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*(?:\/[a-z0-9]+(?:(?:\.|__?|-+)[a-z0-9]+)*)*$/
const tagPattern = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/
const digestPattern = /^([a-z0-9]+(?:[+._-][a-z0-9]+)*):([a-zA-Z0-9=_-]{32,})$/
const algorithmPattern = /^[a-z0-9]+(?:[+._-][a-z0-9]+)*$/
const uploadIdPattern = /^(?!\.{1,2}$)[A-Za-z0-9._=~+-]+$/

/** Hexadecimal digits of the registered algorithms. */
const hexDigits: ReadonlyMap<string, number> = new Map([
  ['sha256', 64],
  ['sha384', 96],
  ['sha512', 128],
])

/** A whole repository name, as in `acme/app`. */
export function isRepositoryName(text: string): boolean {
  return text.length <= repositoryNameCharsMax && namePattern.test(text)
}

/** A tag; at most 128 characters. */
export function isTag(text: string): boolean {
  return tagPattern.test(text)
}

/** `algorithm:encoded`; registered algorithms with exactly their lower-case hexadecimal digits. */
export function isDigest(text: string): boolean {
  if (text.length > digestCharsMax) return false
  const [, algorithm, encoded] = digestPattern.exec(text) ?? []
  if (algorithm === undefined || encoded === undefined) return false
  const digits = hexDigits.get(algorithm)
  return digits === undefined || (encoded.length === digits && /^[0-9a-f]+$/.test(encoded))
}

/** The name of a digest algorithm, as in `digest-algorithm=sha512`. */
export function isDigestAlgorithm(text: string): boolean {
  return text.length <= 64 && algorithmPattern.test(text)
}

/** The id of an upload session, as registries make it for their Location fields. */
export function isUploadId(text: string): boolean {
  return text.length <= uploadIdCharsMax && uploadIdPattern.test(text)
}
