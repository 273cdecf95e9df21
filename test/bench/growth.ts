// What a request costs as things grow: routes, live tokens, scopes of a token.

import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { makeSecret } from '../../gateway/tokens/token.ts'
import { fillAuthority } from './authority.ts'
import { startScopegate } from './peers/scopegate.ts'
import { itemsLoad } from './requests.ts'
import { routePath, writeRoutes } from './routes.ts'
import { type Bench, scope, writeScope } from './scene.ts'
import type { Section } from './section.ts'
import { compareSizes, type Size } from './sizes.ts'

const routeCounts = [10, 100, 1_000, 10_000]
const tokenCounts = [1_000, 10_000, 100_000, 1_000_000]
const scopeCounts = [1, 10, 100]
/** Of the routes, those that the load goes over. */
const usedRoutesMax = 1_000
/** Of the tokens of an authority, those that the load sends. */
const sentTokensMax = 50_000
/** How fast a load surely goes through tokens that nobody has asked for yet. */
const coldTokensPerSecond = 4_000
/** What makes the gateway ask the authority for every request. */
const noCache = { entries: 1, fresh: '1ms' }

export const routes: Section = {
  name: 'routes',
  title: 'CPU per request with 10 to 10,000 routes',
  measure: (scene, effort) =>
    compareSizes(scene, effort, '10,000 routes to 10', routeCounts.map(routesOf(scene))),
}

export const tokens: Section = {
  name: 'tokens',
  title: `CPU per request with 1,000 to 1,000,000 live tokens, of which up to ${sentTokensMax} are sent`,
  measure: async (scene, effort) => {
    const secrets = Array.from({ length: sentTokensMax }, makeSecret)
    const sizes = await Promise.all(tokenCounts.map((count) => tokensOf(scene, secrets, count)))
    const kept = await compareSizes(
      scene,
      effort,
      '1,000,000 tokens in memory to 1,000',
      sizes.map(({ kept }) => kept),
    )
    // For comparison: what is to be flat is the lookup in memory. SQLite's own cache holds a part of so many.
    const asked = await compareSizes(
      scene,
      effort,
      '1,000,000 tokens from SQLite to 1,000',
      [sizes[0]!.asked, sizes.at(-1)!.asked],
      { isToBeFlat: false },
    )
    return {
      tables: [...kept.tables, ...asked.tables],
      verdicts: [...kept.verdicts, ...asked.verdicts],
      figures: { ...kept.figures, ...asked.figures },
    }
  },
}

export const scopes: Section = {
  name: 'scopes',
  title: 'CPU per request with 1 to 100 scopes on each token',
  measure: async (scene, effort) => {
    const others = Array.from({ length: Math.max(...scopeCounts) - 1 }, (_, i) => `other-${i}:read`)
    const declared = [scope, writeScope, ...others].map((name) => [name, `About ${name}`])
    const sections = { scopes: Object.fromEntries(declared) }
    const sizes = scopeCounts.map(async (count): Promise<Size> => {
      const authority = join(scene.folder, `${count}-scopes.db`)
      // The one that is needed is the last of them.
      const held = [...others.slice(0, count - 1), scope]
      const known = scene.tokens.map((secret) => ({ secret, scopes: held }))
      await fillAuthority(authority, known.length, known)
      return {
        name: count === 1 ? '1 scope' : `${count} scopes`,
        load: itemsLoad(scene),
        start: () => startScopegate(scene, { authority, sections }),
      }
    })
    return await compareSizes(scene, effort, '100 scopes to 1', await Promise.all(sizes))
  },
}

function routesOf(scene: Bench): (count: number) => Size {
  return (count) => {
    const folder = join(scene.folder, `${count}-routes`)
    mkdirSync(folder)
    const include = writeRoutes(folder, count)
    const used = Math.min(count, usedRoutesMax)
    const paths = Array.from({ length: used }, (_, i) => `${routePath((i * count) / used)}42`)
    return {
      name: `${count} routes`,
      load: { tokens: scene.tokens, paths },
      start: () => startScopegate(scene, { sections: { include } }),
    }
  }
}

/** With all of them in memory, and with none. */
async function tokensOf(
  scene: Bench,
  secrets: readonly string[],
  count: number,
): Promise<{ readonly kept: Size; readonly asked: Size }> {
  const authority = join(scene.folder, `${count}-tokens.db`)
  const sent = secrets.slice(0, count)
  await fillAuthority(
    authority,
    count,
    sent.map((secret) => ({ secret, scopes: [scope] })),
  )
  const size = (where: string, cache: object): Size => ({
    name: `${count} tokens ${where}`,
    load: { tokens: sent, paths: itemsLoad(scene).paths },
    start: () =>
      startScopegate(scene, {
        authority,
        sections: { tokens: { authority: `sqlite:${authority}`, cache } },
      }),
  })
  return {
    kept: {
      ...size('in memory', { entries: count, fresh: '1h' }),
      coldSeconds: Math.ceil(sent.length / coldTokensPerSecond),
    },
    asked: size('from SQLite', noCache),
  }
}
