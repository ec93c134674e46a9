/**
 * How soon, how truly and at what cost every member learns who is gone: murmurate beside Serf (LAN profile) in the same run,
 * each member a process in a network namespace of its own. Needs root; Serf is "missing" where it is not installed.
 * `npm run bench -- presence --sizes 20,50 --loss-seconds 120 --idle-seconds 30 --only serf --json`
 */
import { parseArgs } from 'node:util'
import type { BenchResult, Row } from './run.js'
import { murmurateFleet, serfFleet, serfVersion, type Fleet, type OnSighting } from './support/presence-fleets.js'
import { measurePresence, type PresenceFigures } from './support/presence-scenario.js'
import { Star } from './support/star.js'

/** Measures each size with each program. */
export default async function presence(args: string[]): Promise<BenchResult> {
  const { values } = parseArgs({
    args,
    options: {
      sizes: { type: 'string', default: '20,50' },
      'loss-seconds': { type: 'string', default: '120' },
      'idle-seconds': { type: 'string', default: '30' },
      only: { type: 'string' }
    }
  })
  const missing = Star.missing()
  if (missing !== undefined) return { rows: [{ missing }], figures: { missing } }
  const times = { lossSeconds: Number(values['loss-seconds']), idleSeconds: Number(values['idle-seconds']) }
  const rows: Row[] = []
  const figures: Record<string, unknown> = { serfVersion: serfVersion() ?? 'missing' }
  for (const size of values.sizes.split(',').map(Number)) {
    const found: Record<string, PresenceFigures | string> = {}
    for (const [program, fleetOn] of programs(size)) {
      if (values.only !== undefined && values.only !== program) continue
      const result = fleetOn === undefined ? 'missing' : await measurePresence(size, times, fleetOn)
      found[program] = result
      rows.push({ size, program, ...(typeof result === 'string' ? { missing: result } : result) })
    }
    figures[`n${size}`] = found
  }
  return { rows, figures }
}

/** The two programs; undefined for one that is not installed. */
function programs(size: number): [string, ((star: Star, see: OnSighting) => Fleet) | undefined][] {
  const murmurate = (star: Star, see: OnSighting): Fleet => murmurateFleet(star, size, see)
  return [
    ['murmurate', murmurate],
    ['serf', serfVersion() === undefined ? undefined : serfFleet]
  ]
}
