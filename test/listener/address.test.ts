// Who the client is by what a trusted proxy tells (RFC 7239 6), where the field was not written by a proxy alone.

import t from 'tap'
import { buildTrustedProxies, readClientOrigin } from '../../gateway/listener/address.ts'

const trusted = buildTrustedProxies({ from: ['10.0.0.0/8'], read: 'x-forwarded' })

t.test('what is no address is passed on as unknown, and never in its own words', async (t) => {
  const rows: [told: string, address: string, first: string, why: string][] = [
    ['192.0.2.1', '192.0.2.1', '192.0.2.1', 'an address'],
    ['[2001:db8::1]:443', '2001:db8::1', '2001:db8::1', 'an IPv6 address with its port'],
    ['[x;host=evil], 192.0.2.1', '192.0.2.1', 'unknown', 'parameters in brackets'],
    ['[2001:db8::1, 192.0.2.1', '192.0.2.1', 'unknown', 'a bracket that is not closed'],
    ['a"b', '10.0.0.1', 'unknown', 'a quote'],
  ]
  for (const [told, address, first, why] of rows) {
    const origin = readClientOrigin('10.0.0.1', 'http', ['X-Forwarded-For', told], trusted)
    t.equal(origin.address, address, why)
    t.equal(origin.hops[0], first, why)
  }
})
