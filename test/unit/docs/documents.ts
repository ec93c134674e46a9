import { readdirSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const root = fileURLToPath(new URL('../../../', import.meta.url))

/** A file of the repository, as text. */
export function readText(path: string): string {
  return readFileSync(root + path, 'utf8')
}

/** All TypeScript files below a folder of the repository, by path. */
export function readFolder(folder: string): Map<string, string> {
  const names = readdirSync(root + folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.endsWith('.ts'))
  return new Map(names.sort().map((name) => [`${folder}/${name}`, readText(`${folder}/${name}`)]))
}
