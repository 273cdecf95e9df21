// Every client of a registry, sent to the token service for a grant (`challenge: bearer`); also with a
// credential helper that gives the token as an identity token, as Foundries' does.

import t from 'tap'
import { lacks, push, read, startPlace } from './registry-clients-place.ts'
import { listed, tryClients } from './registry-clients-trials.ts'

const place = await startPlace('bearer')
tryClients(place)

t.test("every client takes a helper's token to the token service", async (t) => {
  const token = await place.gateway.token('--scope', read)
  for (const client of place.clients) {
    const grants = await place.grantsAsked()
    const session = client.helpedSession('<token>', token)
    const { code, stdout, stderr } = await session.inspect('acme/app:list')
    t.equal(code, 0, stderr || client.name)
    t.match(JSON.parse(stdout), { manifests: [{ digest: place.image.digest }] }, client.name)
    t.ok((await place.grantsAsked()) > grants, `${client.name} asked for a grant`)
    const refused = await (session.push?.(place.image, 'acme/helped:v1') ??
      listed(session, 'acme/helped:v1'))
    t.match(refused.stderr, lacks(push, 'acme/helped'), client.name)
  }
})
