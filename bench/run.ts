import { readdirSync } from 'node:fs'
import { parseArgs } from 'node:util'

/** One line of a bench's table: what was measured, with the unit in the column's name. */
export type Row = Record<string, string | number>

/** A bench is a file beside this one whose default export measures something, next to a peer, and returns the table. */
export interface Bench {
  default: () => Promise<Row[]>
}

const { values, positionals } = parseArgs({ options: { json: { type: 'boolean' } }, allowPositionals: true })
const names = readdirSync(new URL('.', import.meta.url))
  .filter((file) => file.endsWith('.js') && file !== 'run.js')
  .map((file) => file.slice(0, -'.js'.length))
const [name] = positionals

if (name === undefined || !names.includes(name)) {
  console.error(`usage: npm run bench -- NAME [--json]\nbenches: ${names.join(' ') || 'none yet'}`)
  process.exitCode = 2
} else {
  const bench = (await import(`./${name}.js`)) as Bench
  const rows = await bench.default()
  if (values.json === true) console.log(JSON.stringify({ bench: name, node: process.version, rows }))
  else console.table(rows)
}
