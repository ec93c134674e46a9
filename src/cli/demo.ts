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
  const end = endRequested()
  const fleet = await DemoFleet.create()
  try {
    const result = await Promise.race([end, runScenario(fleet)])
    if (result === 'end') return interrupted
    const rollouts = [result.full, result.delta, result.failing]
    console.log(`\n${transferTable(fleet, rollouts)}\n\nWhat blocks whom:`)
    for (const line of blockerLines(fleet, rollouts)) console.log(`  ${line}`)
    if (keep) {
      console.log(`\nThe nodes go on; their data is under ${fleet.directory}. Ctrl-C stops them and removes it.`)
      await end
    }
    if (json) console.log(JSON.stringify(reportOf(fleet, result)))
    return 0
  } finally {
    await fleet.stop()
  }
}

/**
 * Resolves at Ctrl-C, `kill`, and when the terminal or whoever reads the output goes away. The listeners stay: the renderer
 * brings one that puts the cursor back and, when it is the last, ends the process by the signal before anything is cleaned
 * up; and npm passes on a Ctrl-C that the terminal has sent already.
 */
function endRequested(): Promise<'end'> {
  return new Promise((resolve) => {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => resolve('end'))
    process.stdout.on('error', () => resolve('end'))
  })
}
