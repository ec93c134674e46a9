import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../src/', import.meta.url))

/** Every source file: its path below `src/`, with forward slashes, and its text. */
export function readSources(): Map<string, string> {
  const names = readdirSync(root, { recursive: true, encoding: 'utf8' }).filter((name) => /\.tsx?$/.test(name))
  return new Map(names.sort().map((name) => [name.replaceAll('\\', '/'), readFileSync(root + name, 'utf8')]))
}
