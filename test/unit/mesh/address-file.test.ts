import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { silentLogger } from '../../../src/core/logger.js'
import { AddressFile, readAddresses } from '../../../src/mesh/address-file.js'

let directory: string
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-addresses-'))
})
afterEach(() => rm(directory, { recursive: true, force: true }))

test('[CLI-15] the addresses of a node are there while it runs, and no longer', async () => {
  const file = new AddressFile(directory, () => ['/ip4/192.0.2.7/tcp/4001'], silentLogger)
  await file.start()
  expect(await readAddresses(directory)).toEqual(['/ip4/192.0.2.7/tcp/4001'])
  await file.stop()
  await file.stop()
  expect(await readAddresses(directory)).toEqual([])
})

test('[CLI-15] a disk that does not take them stops no node, and a damaged file counts as none', async () => {
  const path = join(directory, 'addresses')
  for (const text of ['', '{', '[1]', 'null', JSON.stringify(Array(65).fill('x'))]) {
    await writeFile(path, text)
    expect(await readAddresses(directory)).toEqual([])
  }
  await rm(path)
  await mkdir(path)
  const warnings: string[] = []
  const logger = { ...silentLogger, warn: (message: string) => void warnings.push(message) }
  const file = new AddressFile(directory, () => [], logger)
  await file.start()
  await file.stop()
  expect(warnings).toHaveLength(2)
})
