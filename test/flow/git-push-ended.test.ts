// Pushes that end in their middle: the token is revoked, the client goes away, the gateway is told to end,
// the ref moves. Each ends as a refusal on both sides: nothing changes, and no backend and no half of a pack
// is left, whatever web server the git server stands behind.

import t, { type Test } from 'tap'
import { gitEnvironment } from '../servers/git-client.ts'
import { plainEnvironment, startServer } from '../servers/lifetime.ts'
import { connect } from '../servers/raw-client.ts'
import { until } from '../servers/ready.ts'
import { type Gate, packOf, pushFields, startGate, writePush } from './push-wire.ts'
import {
  leavesNothing,
  type Repository,
  refusals,
  startWorkplace,
  type Workplace,
  webs,
} from './push-workplace.ts'

/** Of a push of 1.5 MiB so much passes: all its commits, and some of its file. */
const heldBytes = 512 * 1024
/** Such a push with Content-Length, as git sends it when it is told to. */
const inOnePiece = 'http.postBuffer=8m'
/** What acts on a revoked token at the latest. */
const noticeMs = 1_000
const drainMs = 1_000
/** How long the git server may take to end a push that is refused. */
const endedMs = 10_000

for (const web of webs) {
  t.test(`behind ${web}`, async (t) => {
    const workplace = await startWorkplace(web)
    t.teardown(() => workplace.stop())

    for (const settings of [[], [inOnePiece]]) {
      const framing = settings.length === 0 ? 'chunked' : 'in one piece'

      await t.test(`a push ${framing} whose token is revoked is refused`, async (t) => {
        const repository = await workplace.repository()
        const { id, token } = await workplace.revocable(['source:read-update'])
        const gate = await gateFor(t, workplace)
        const refused = await repository.unchanged(t, async () => {
          const pushing = repository.push(token, ['noise:main'], { settings, through: gate.port })
          await arrivedInPart(workplace, repository, gate)
          const revoked = await workplace.gateway.command('token', 'revoke', id)
          t.equal(revoked.code, 0)
          // It does not wait for the client, which sends nothing.
          await leavesNothing(t, workplace, repository)
          gate.open()
          return await pushing
        })
        t.equal(refused.code, 1)
        const [line, ...others] = refusals(refused)
        t.match(line, /^! \[remote rejected\] noise -> main \(token revoked on 20\S+\)$/)
        t.same(others, [])
      })

      await t.test(`a push ${framing} whose client is killed leaves nothing behind`, async (t) => {
        const repository = await workplace.repository()
        const token = await workplace.tokenWith(['source:read-update'])
        const gate = await gateFor(t, workplace)
        const config = `remote.origin.pushurl=${repository.url(token, gate.port)}`
        const folder = workplace.client.folder
        await repository.unchanged(t, async () => {
          const git = await startServer(
            'git',
            [
              ...['-c', config, ...settings.flatMap((s) => ['-c', s])],
              'push',
              'origin',
              'noise:main',
            ],
            { cwd: `${folder}/${repository.clone}`, env: plainEnvironment(gitEnvironment(folder)) },
          )
          await arrivedInPart(workplace, repository, gate)
          process.kill(-git.pid, 'SIGKILL')
          await git.stop()
        })
      })
    }

    await t.test('a push that is let go in its middle takes effect', async (t) => {
      const repository = await workplace.repository()
      const token = await workplace.tokenWith(['source:read-update'])
      const gate = await gateFor(t, workplace)
      const pushing = repository.push(token, ['noise:main'], { through: gate.port })
      await arrivedInPart(workplace, repository, gate)
      gate.open()
      const done = await pushing
      t.equal(done.code, 0, done.stderr)
      t.equal(await repository.server('rev-parse', 'main'), workplace.history.ids.noise)
      await leavesNothing(t, workplace, repository)
    })
  })
}

t.test('behind one of them', async (t) => {
  const workplace = await startWorkplace('nginx-streaming')
  t.teardown(() => workplace.stop())

  await t.test('a ref that moves during a push is not moved back', async (t) => {
    const repository = await workplace.repository()
    const token = await workplace.tokenWith(['source:delete'])
    const gate = await gateFor(t, workplace)
    const args = ['--force', 'forced-noise:main']
    const pushing = repository.push(token, args, { through: gate.port })
    await arrivedInPart(workplace, repository, gate)
    await repository.server('update-ref', 'refs/heads/main', 'refs/heads/ahead')
    gate.open()
    const refused = await pushing
    t.equal(refused.code, 1)
    t.match(refusals(refused), [/^! \[remote rejected\] forced-noise -> main \(.+\)$/])
    t.equal(await repository.server('rev-parse', 'main'), workplace.history.ids.ahead)
    await leavesNothing(t, workplace, repository)
  })

  await t.test('a revoked token ends a slow push within a second', async (t) => {
    const { repository, connection, rest } = await slowPush(t, workplace)
    await repository.unchanged(t, async () => {
      await arrivedInPart(workplace, repository)
      const { code } = await workplace.gateway.command('token', 'revoke', rest.id)
      const at = performance.now()
      t.equal(code, 0)
      await until('no backend', async () => (await isIdle(workplace)) || undefined)
      const ms = Math.round(performance.now() - at)
      t.ok(ms < noticeMs, `no backend after ${ms} ms`)
      connection.write(rest.bytes)
      const reply = await connection.receive(
        'the report',
        (text) => text.includes('\r\n\r\n') && text.endsWith('0000'),
      )
      t.match(reply, /^HTTP\/1\.1 200 /)
      t.match(reply, /ng refs\/heads\/main token revoked on 20/)
    })
    const line = await workplace.gateway.logged('the push', ({ tokenId, method }) => {
      return tokenId === rest.id && method === 'POST'
    })
    t.match(line, { outcome: 'deny', reason: 'invalid_token', status: 200, audit: true })
  })
})

t.test(
  'SIGTERM refuses a push that is not done when the drain ends, and the exit is 0',
  async (t) => {
    const workplace = await startWorkplace('nginx-streaming', {
      server: { drain: { timeout: `${drainMs}ms` } },
    })
    t.teardown(() => workplace.stop())
    const { repository, connection } = await slowPush(t, workplace)
    await repository.unchanged(t, async () => {
      await arrivedInPart(workplace, repository)
      workplace.gateway.signal('SIGTERM')
      t.same(await workplace.gateway.exited, { code: 0, signal: null })
    })
    t.match(connection.received(), /^HTTP\/1\.1 200 /)
    t.match(connection.received(), /ng refs\/heads\/main /)
  },
)

t.test('SIGTERM lets a push finish that is done before the drain ends', async (t) => {
  const workplace = await startWorkplace('nginx-streaming')
  t.teardown(() => workplace.stop())
  const repository = await workplace.repository()
  const token = await workplace.tokenWith(['source:read-update'])
  const gate = await gateFor(t, workplace)
  const pushing = repository.push(token, ['noise:main'], { through: gate.port })
  await arrivedInPart(workplace, repository, gate)
  workplace.gateway.signal('SIGTERM')
  await workplace.gateway.logged('it drains', ({ msg }) => msg === 'draining')
  gate.open()
  const done = await pushing
  t.equal(done.code, 0, done.stderr)
  t.equal(await repository.server('rev-parse', 'main'), workplace.history.ids.noise)
  t.same(await workplace.gateway.exited, { code: 0, signal: null })
})

t.test('SIGTERM ends a gateway at once that has proved pushes and has none to do', async (t) => {
  const workplace = await startWorkplace('nginx-streaming')
  t.teardown(() => workplace.stop())
  const repository = await workplace.repository()
  const token = await workplace.tokenWith(['source:read-update'])
  for (const branch of ['on-ahead', 'amended']) {
    await repository.push(token, ['--force', `${branch}:main`])
  }
  const at = performance.now()
  workplace.gateway.signal('SIGTERM')
  t.same(await workplace.gateway.exited, { code: 0, signal: null })
  const ms = Math.round(performance.now() - at)
  t.ok(ms < endedMs, `it exited after ${ms} ms`)
})

async function gateFor(t: Test, { gateway }: Workplace): Promise<Gate> {
  const gate = await startGate(Number(new URL(gateway.url).port), heldBytes)
  t.teardown(() => gate.stop())
  return gate
}

/** Until the gateway has a part of the push; and the git server too, where its web server passes it on. */
async function arrivedInPart(
  { upstream, web }: Workplace,
  { name }: Repository,
  gate?: Gate,
): Promise<void> {
  await gate?.held
  if (web === 'nginx') return
  const found = (): true | undefined => upstream.quarantines(name).length > 0 || undefined
  await until('the git server has a part of the pack', found)
}

async function isIdle({ upstream }: Workplace): Promise<boolean> {
  return (await upstream.backends()).length === 0
}

/** A push as bytes, with a token of its own, of which all but `rest` is sent. */
async function slowPush(t: Test, workplace: Workplace) {
  const repository = await workplace.repository()
  const { id, token } = await workplace.revocable(['source:read-update'])
  const { ids } = workplace.history
  const pack = await packOf(workplace.client, repository.clone, ['noise'], ['main'])
  const body = writePush([[`${ids.main}`, `${ids.noise}`, 'refs/heads/main']], pack)
  const fields = Object.entries(pushFields(token)).map(([name, value]) => `${name}: ${value}\r\n`)
  const connection = await connect(workplace.gateway.url)
  t.teardown(() => connection.close())
  const line = `POST /${repository.name}.git/git-receive-pack HTTP/1.1\r\nHost: a.test\r\n`
  connection.write(`${line}${fields.join('')}Content-Length: ${body.length}\r\n\r\n`)
  connection.write(body.subarray(0, heldBytes))
  return { repository, connection, rest: { id, bytes: body.subarray(heldBytes) } }
}
