import { DemoFleet } from './demo/fleet.js'
import { blockerLines, reportOf, transferTable } from './demo/report.js'
import { runScenario } from './demo/scenario.js'

/** Options of `murmurate demo`. */
export interface DemoOptions {
  /** Print one JSON object as the last line. */
  readonly json: boolean
  /** Leave the nodes running until Ctrl-C. */
  readonly keep: boolean
}

/** What a shell expects of a program that Ctrl-C ended: 128 + SIGINT. */
const interrupted = 130

/** Runs the demo; returns the exit code. Whatever happens, no process and no file stays behind. */
export async function demo({ json, keep }: DemoOptions): Promise<number> {
  const fleet = await DemoFleet.create()
  const signal = new Promise<'signal'>((resolve) => {
    process.once('SIGINT', () => resolve('signal'))
    process.once('SIGTERM', () => resolve('signal'))
  })
  try {
    const result = await Promise.race([signal, runScenario(fleet)])
    if (result === 'signal') return interrupted
    const rollouts = [result.full, result.delta, result.failing]
    console.log(`\n${transferTable(fleet, rollouts)}\n\nWhat blocks whom:`)
    for (const line of blockerLines(fleet, rollouts)) console.log(`  ${line}`)
    if (keep) {
      console.log(`\nThe nodes go on; their data is under ${fleet.directory}. Ctrl-C stops them and removes it.`)
      await signal
    }
    if (json) console.log(JSON.stringify(reportOf(fleet, result)))
    return 0
  } finally {
    await fleet.stop()
  }
}
