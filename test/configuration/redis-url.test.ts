import t from 'tap'
import { parseRedisUrl } from '../../gateway/configuration/redis-url.ts'

const plain = {
  host: 'cache.internal',
  port: 6379,
  database: 0,
  username: undefined,
  password: undefined,
  tls: false,
}

t.test('addresses of a Redis', async (t) => {
  const rows: [string, string, object][] = [
    ['a host', 'redis://cache.internal', plain],
    ['a port and a database', 'redis://cache.internal:7000/3', { port: 7000, database: 3 }],
    ['a slash alone', 'redis://cache.internal/', plain],
    ['TLS', 'rediss://cache.internal', { tls: true }],
    ['a password', 'redis://:p%40ss%2F%25@cache.internal', { password: 'p@ss/%' }],
    ['a user', 'redis://gate:x@cache.internal', { username: 'gate', password: 'x' }],
    ['IPv6', 'redis://[::1]:6380', { host: '::1', port: 6380 }],
  ]
  for (const [sentence, address, expected] of rows) {
    t.strictSame(parseRedisUrl(address), { ...plain, ...expected }, sentence)
  }
})

t.test('what is no such address is told without a part of it', async (t) => {
  const rows: [string, RegExp][] = [
    ['http://:hunter2@h', /no address of a Redis/],
    ['hunter2@h:6379', /no address of a Redis/],
    ['redis://:hunter2@h:66666', /cannot be read/],
    ['redis://:hunter2#x@h', /cannot be read|names no host|query or a fragment/],
    ['redis:///1', /names no host/],
    ['redis://:hunter2@h?family=6', /query/],
    ['redis://:hunter2@h/one', /number of a database/],
    ['redis://:hunter2@h/1/2', /number of a database/],
    ['redis://:hunter2%zz@h', /percent escape/],
  ]
  for (const [address, expected] of rows) {
    const complaint = parseRedisUrl(address)
    t.match(complaint, expected, address)
    t.notMatch(complaint, /hunter2/)
  }
})
