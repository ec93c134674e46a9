import type { RecordRun } from './record-run.js'

/** What became of a run. */
export interface Outcome {
  readonly seed: number
  readonly nodes: number
  readonly virtualSeconds: number
  /** Gossip messages over links. */
  readonly messages: number
  /** Sent by a node over all its links, on average. */
  readonly bytesPerNode: number
  readonly entries: number
  readonly attacks: number
  readonly refusals: number
  /** From the heal until all agreed; undefined when they never did. */
  readonly agreedAfterMs: number | undefined
  readonly wallSeconds: number
  readonly cpuSeconds: number
  readonly problems: readonly string[]
}

/** The figures of a run. */
export function outcomeOf(
  run: RecordRun,
  rest: Pick<Outcome, 'seed' | 'entries' | 'agreedAfterMs' | 'wallSeconds' | 'cpuSeconds' | 'problems'>
): Outcome {
  return {
    nodes: run.honest.length + run.hostile.length,
    virtualSeconds: run.elapsedMs / 1000,
    messages: run.mesh.hub.carried,
    bytesPerNode: run.sentBytes / run.honest.length,
    attacks: [...run.attacks.values()].reduce((sum, count) => sum + count, 0),
    refusals: run.refusals,
    ...rest
  }
}

/** One line a run. */
export function lineOf(outcome: Outcome): string {
  const { seed, nodes, virtualSeconds, messages, bytesPerNode, entries, attacks, refusals, agreedAfterMs } = outcome
  const agreed =
    agreedAfterMs === undefined ? 'NO AGREEMENT' : `agreed ${(agreedAfterMs / 1000).toFixed(0)} s after the heal`
  return [
    `seed ${seed}: ${outcome.problems.length === 0 ? 'ok' : 'FAILED'}`,
    `${nodes} nodes, ${virtualSeconds.toFixed(0)} s virtual`,
    `${messages} gossip messages, ${(bytesPerNode / 1000).toFixed(0)} kB sent a node`,
    `${entries} entries, ${attacks} attacks, ${refusals} refusals`,
    agreed,
    `${outcome.wallSeconds.toFixed(1)} s wall, ${outcome.cpuSeconds.toFixed(1)} s CPU`
  ].join('; ')
}

/** How to run one seed alone. */
export function commandFor(seed: number, nodes: number): string {
  return `npm run simulate -- --nodes ${nodes} --seed ${seed}`
}

/** The end of a series of runs. */
export function summaryOf(outcomes: readonly Outcome[], expected: number): string {
  const passed = outcomes.filter(({ problems }) => problems.length === 0).length
  const failed = outcomes.filter(({ problems }) => problems.length > 0)
  return [
    ...outcomes.map(lineOf),
    ...failed.map(({ seed, nodes }) => `to run seed ${seed} alone: ${commandFor(seed, nodes)}`),
    `${passed} passed, ${expected - passed} failed`
  ].join('\n')
}
