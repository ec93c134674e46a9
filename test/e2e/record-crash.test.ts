import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { compiled, type Compiled } from '../support/compiled.js'
import { seededRandom } from '../support/virtual-clock.js'

const script = fileURLToPath(new URL('../support/record-writer.mjs', import.meta.url))
const lives = 10
let parts: Compiled[]
let directory: string

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-crash-'))
  parts = []
  for (const file of [
    'record/shared-document',
    'record/log',
    'net/memory-network',
    'identity/keypair',
    'core/polyfill'
  ]) {
    parts.push(await compiled(`${file}.ts`))
  }
})
afterAll(async () => {
  await rm(directory, { recursive: true, force: true })
  for (const part of parts) await part.remove()
})

/** Lets the writer run until it has printed so many lines, and kills it some writes later; returns all whole lines. */
async function live(first: number, lines: number, delayMs: number): Promise<string[]> {
  const base = parts[0]?.url.replace(/\/record\/[^/]*$/, '') ?? ''
  const child = spawn(process.execPath, [script, base, directory, `${first}`], { stdio: ['ignore', 'pipe', 'inherit'] })
  let output = ''
  let isDying = false
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text
    if (isDying || output.split('\n').length <= lines) return
    isDying = true
    setTimeout(() => child.kill('SIGKILL'), delayMs)
  })
  const [, signal] = (await once(child, 'close')) as [number | null, NodeJS.Signals | null]
  expect(signal).toBe('SIGKILL')
  return output.slice(0, output.lastIndexOf('\n')).split('\n')
}

test('[REC-75] killed at random moments, a writer keeps what it acknowledged and never uses a clock twice', async () => {
  const random = seededRandom(75)
  /** What was ever said with a clock. */
  const said = new Map<number, string>()
  let acknowledged = -1
  for (let number = 0; number < lives; number++) {
    const lines = await live(number * 100_000, 1 + Math.floor(random.float() * 60), random.float() * 4)
    const [present] = lines
    if (number > 0) expect(present).toMatch(/^said /)
    const kept = number > 0 ? Number(present?.split(' ')[3]) : -1
    expect(kept, `life ${number}`).toBeGreaterThanOrEqual(acknowledged)
    for (const line of lines) {
      const [what, ...words] = line.split(' ')
      if (what === 'done') acknowledged = Math.max(acknowledged, Number(words[0]))
      else {
        const [seq, ...value] = words
        expect(said.get(Number(seq)) ?? value.join(' '), `clock ${seq}`).toBe(value.join(' '))
        said.set(Number(seq), value.join(' '))
      }
    }
  }
  expect(acknowledged).toBeGreaterThan((lives - 1) * 100_000)
}, 120_000)
