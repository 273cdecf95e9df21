// A request's body as one buffer, within a bound.

import type { RequestBody } from './protocol.ts'

/** Undefined where the body is, or says that it is, longer than `bytesMax`; the rest of it is then still to come. */
export async function readWhole(body: RequestBody, bytesMax: number): Promise<Buffer | undefined> {
  if ((body.length ?? 0) > bytesMax) return undefined
  const chunks: Buffer[] = []
  let bytes = 0
  for (let chunk = await body.next(); chunk !== undefined; chunk = await body.next()) {
    bytes += chunk.length
    if (bytes > bytesMax) return undefined
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}
