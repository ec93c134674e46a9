import { execFile } from 'node:child_process'
import { cp, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, it } from 'vitest'

const run = promisify(execFile)
const root = fileURLToPath(new URL('../..', import.meta.url))
let project: string

/** An empty project into which the packed tarball was installed. */
beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), 'murmurate-consumer-'))
  await run('npm', ['pack', '--ignore-scripts', '--pack-destination', project], { cwd: root })
  const tarball = (await readdir(project)).find((name) => name.endsWith('.tgz')) ?? ''
  await writeFile(join(project, 'package.json'), JSON.stringify({ name: 'consumer', private: true, type: 'module' }))
  await run('npm', ['install', '--no-audit', '--no-fund', '--prefer-offline', `./${tarball}`], { cwd: project })
})

afterAll(async () => {
  await rm(project, { recursive: true, force: true })
})

it('the minimal example runs from the installed package', async () => {
  await cp(join(root, '.build/examples/minimal-node.js'), join(project, 'minimal-node.js'))
  const { stdout } = await run(process.execPath, ['minimal-node.js', '--once'], { cwd: project })
  expect(stdout).toContain('12D3KooW')
})

it('the command runs from the installed package', async () => {
  const { stdout } = await run(process.execPath, ['node_modules/murmurate/dist/cli/main.js', 'secret'], {
    cwd: project
  })
  expect(stdout).toMatch(/^murmurate-secret-1:/)
})

it('a strict consumer type-checks', async () => {
  await writeFile(
    join(project, 'consumer.ts'),
    `import { createNode, isSuccess, MurmurateError, type ErrorCode, type NodeInit, type Runtime } from 'murmurate'
const init: NodeInit = { dataDir: 'data', secret: 'secret', labels: { site: 'north' } }
const node = await createNode(init)
for await (const status of node.distribution.subscribeConvergence('detector', '1.0.0')) {
  const total: number = status.totalPlatforms
  console.log(isSuccess(status), total, status.blockers[0]?.nextStep)
}
export const runtime: Runtime = { load: async () => {}, check: async () => {}, unload: async () => {} }
export function codeOf(error: unknown): ErrorCode | undefined {
  return error instanceof MurmurateError ? error.code : undefined
}
`
  )
  const tsc = join(root, 'node_modules/typescript/bin/tsc')
  const types = join(root, 'node_modules/@types')
  const strict = ['--strict', '--exactOptionalPropertyTypes', '--noUncheckedIndexedAccess', '--noEmit']
  const options = ['--module', 'nodenext', '--target', 'es2022', '--typeRoots', types, '--types', 'node']
  await run(process.execPath, [tsc, ...strict, ...options, 'consumer.ts'], { cwd: project }).catch((error: unknown) => {
    throw new Error((error as { stdout?: string }).stdout ?? String(error))
  })
})
