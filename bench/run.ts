import { readdirSync } from 'node:fs'

/** One line of a bench's table: what was measured, with the unit in the column's name. */
export type Row = Record<string, string | number>

/** What a bench found out: a table for people, and the same figures by name for programs, units in the names. */
export interface BenchResult {
  readonly rows: readonly Row[]
  readonly figures: Readonly<Record<string, unknown>>
}

/** A bench is a file beside this one whose default export measures something, next to a peer; it reads its own options. */
export interface Bench {
  default: (args: string[]) => Promise<BenchResult>
}

const names = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.js') && file !== 'run.js')
  .map((file) => file.slice(0, -'.js'.length))
const [name, ...options] = process.argv.slice(2)

if (name === undefined || !names.includes(name)) {
  console.error(`usage: npm run bench -- NAME [OPTIONS] [--json]\nbenches: ${names.join(' ')}`)
  process.exitCode = 2
} else {
  const bench = (await import(`./${name}.js`)) as Bench
  const { rows, figures } = await bench.default(options.filter((option) => option !== '--json'))
  console.table(rows)
  if (options.includes('--json')) console.log(JSON.stringify({ bench: name, node: process.version, ...figures }))
}
