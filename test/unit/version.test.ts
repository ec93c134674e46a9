import { readFile } from 'node:fs/promises'
import { expect, it } from 'vitest'
import { version } from '../../src/version.js'

it('the version in the code is that of the package', async () => {
  const text = await readFile(new URL('../../package.json', import.meta.url), 'utf8')
  expect(version).toBe((JSON.parse(text) as { version: string }).version)
})
