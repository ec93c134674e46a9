import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import ts from 'typescript'
import { afterAll, beforeAll, expect, it } from 'vitest'

const root = fileURLToPath(new URL('../../..', import.meta.url))
let readme: string
let directory: string

beforeAll(async () => {
  readme = await readFile(join(root, 'README.md'), 'utf8')
  directory = await mkdtemp(join(tmpdir(), 'murmurate-readme-'))
})

afterAll(async () => {
  await rm(directory, { recursive: true, force: true })
})

it('the code in the README type-checks against the library', async () => {
  const blocks = [...readme.matchAll(/```ts\n([\s\S]*?)```/g)].map(([, code]) => code ?? '')
  expect(blocks.length).toBeGreaterThan(0)
  const files = await Promise.all(blocks.map((code, at) => save(`block-${at}.ts`, code)))
  const program = ts.createProgram(files, {
    strict: true,
    noEmit: true,
    skipLibCheck: true,
    types: ['node'],
    typeRoots: [join(root, 'node_modules/@types')],
    target: ts.ScriptTarget.ES2023,
    lib: ['lib.es2023.d.ts', 'lib.es2024.promise.d.ts'],
    module: ts.ModuleKind.NodeNext,
    paths: { murmurate: [join(root, 'src/index.ts')] }
  })
  const messages = ts
    .getPreEmitDiagnostics(program)
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'))
  expect(messages).toEqual([])
}, 60_000)

it('every link of the README to a file leads somewhere', () => {
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)]
    .map(([, target]) => target ?? '')
    .filter((target) => !target.includes('://'))
  expect(links.length).toBeGreaterThan(5)
  expect(links.filter((target) => !existsSync(resolve(dirname(join(root, 'README.md')), target)))).toEqual([])
})

it('the quick start has two commands, and they are scripts of the package', async () => {
  const block = /## Quick start[\s\S]*?```sh\n([\s\S]*?)```/.exec(readme)?.[1] ?? ''
  const commands = block
    .trim()
    .split('\n')
    .map((line) => line.replace(/\s+#.*/, ''))
  expect(commands).toEqual(['npm ci && npm start', 'npm test'])
  const { scripts } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8')) as {
    scripts: Record<string, string>
  }
  expect(Object.keys(scripts)).toEqual(expect.arrayContaining(['start', 'test']))
})

async function save(name: string, code: string): Promise<string> {
  const path = join(directory, name)
  await writeFile(path, code)
  await writeFile(join(directory, 'package.json'), '{"type":"module"}')
  return path
}
