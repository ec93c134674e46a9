import { posix } from 'node:path'
import ts from 'typescript'
import { expect, test } from 'vitest'
import { readSources } from './sources.js'

/** Who may import whom. `root` are the files directly in `src/`. A folder may always import its own files. */
const rooms = ['core', 'identity', 'net', 'record', 'fleet', 'blobs', 'models', 'rollout', 'mesh']
const mayImport: Record<string, readonly string[]> = {
  core: [],
  identity: ['core'],
  net: ['core', 'identity'],
  record: ['core', 'identity', 'net'],
  fleet: ['core', 'identity', 'net', 'record'],
  blobs: ['core', 'identity', 'net'],
  models: ['core', 'identity', 'record', 'blobs', 'fleet'],
  rollout: ['core', 'identity', 'net', 'record', 'fleet', 'blobs', 'models'],
  mesh: ['core', 'identity', 'net', 'record'],
  root: rooms,
  http: ['root'],
  cli: ['root', 'http', 'core'],
  dashboard: ['http']
}

const folderOf = (file: string): string => (file.includes('/') ? file.slice(0, file.indexOf('/')) : 'root')

/** The files of `src/` that a file imports: by value, as types, dynamically, by re-export or by the package's own name. */
function importsOf(file: string, text: string): string[] {
  const names = ts.preProcessFile(text, true, true).importedFiles.map((found) => found.fileName)
  return names.flatMap((name) => {
    if (name === 'murmurate') return ['index.ts']
    return name.startsWith('.') ? [posix.join(posix.dirname(file), name).replace(/\.js(x?)$/, '.ts$1')] : []
  })
}

function violations(files: ReadonlyMap<string, string>): string[] {
  const graph = new Map([...files].map(([file, text]) => [file, importsOf(file, text)]))
  const found: string[] = []
  for (const [file, imports] of graph) {
    const from = folderOf(file)
    if (!(from in mayImport)) found.push(`${file}: the folder is not in the table`)
    if (/\/index\.tsx?$/.test(file)) found.push(`${file}: no index inside a folder`)
    for (const to of imports) {
      if (from !== folderOf(to) && mayImport[from]?.includes(folderOf(to)) !== true) found.push(`${file} -> ${to}`)
    }
  }
  return [...found, ...cycles(graph)]
}

function cycles(graph: ReadonlyMap<string, readonly string[]>): string[] {
  const found: string[] = []
  const done = new Set<string>()
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) found.push(`cycle: ${[...path.slice(path.indexOf(file)), file].join(' -> ')}`)
    if (path.includes(file) || done.has(file)) return
    for (const next of graph.get(file) ?? []) visit(next, [...path, file])
    done.add(file)
  }
  for (const file of graph.keys()) visit(file, [])
  return found
}

test('every import points down the table, and none goes in a circle', () => {
  expect(violations(readSources())).toEqual([])
})

test.each([
  ['a value import', 'core/ids.ts', `import { a } from '../net/network.js'`],
  ['a type import', 'record/page.ts', `import type { A } from '../blobs/cid.js'`],
  ['a re-export', 'blobs/cid.ts', `export { A } from '../record/page.js'`],
  ['a dynamic import', 'fleet/pulse.ts', `const a = await import('../rollout/waves.js')`],
  ['a type of a dynamic import', 'fleet/pulse.ts', `let a: import('../rollout/waves.js').A`],
  ['the wing above', 'node.ts', `import { a } from './http/server.js'`],
  ['a command that reaches past the root', 'cli/up.ts', `import { a } from '../record/page.js'`],
  ['the package by its own name', 'net/network.ts', `import { a } from 'murmurate'`],
  ['an index inside a folder', 'core/index.ts', `export {}`],
  ['an unknown folder', 'helpers/misc.ts', `export {}`]
])('%s is found', (_, file, text) => {
  expect(violations(new Map([[file, text]]))).toHaveLength(1)
})

test('a cycle is found, through types too', () => {
  const files = new Map([
    ['core/a.ts', `import type { B } from './b.js'`],
    ['core/b.ts', `export * from './c.js'`],
    ['core/c.ts', `import { a } from './a.js'`]
  ])
  expect(violations(files)).toEqual(['cycle: core/a.ts -> core/b.ts -> core/c.ts -> core/a.ts'])
})

test('what the table allows is let through', () => {
  const files = new Map([
    ['core/ids.ts', `import { z } from 'zod'`],
    ['rollout/waves.ts', `import { a } from '../core/ids.js'`],
    ['node.ts', `import './rollout/waves.js'`],
    ['index.ts', `export * from './node.js'`],
    ['http/routes/nodes.ts', `import type { Node } from '../../node.js'`],
    ['cli/up.ts', `import { a } from '../index.js'\nimport { b } from '../core/ids.js'`]
  ])
  expect(violations(files)).toEqual([])
})
