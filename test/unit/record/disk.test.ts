import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { RecordLog } from '../../../src/record/log.js'
import { inTime, until } from '../../support/until.js'
import { noteKind, notePage } from './fixtures.js'
import { agree, Mesh, textsOf, type RecordNode } from './mesh.js'

let directory: string

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'murmurate-document-'))
})
afterEach(async () => {
  vi.restoreAllMocks()
  await rm(directory, { recursive: true, force: true })
})

const pathOf = (number: number): string => join(directory, `${number}`, 'log')
const nodeOf = (mesh: Mesh<typeof systemEnvironment>, number: number): Promise<RecordNode> =>
  mesh.node(number, {
    log: new RecordLog(pathOf(number), new Uint8Array(32)),
    init: { gossipTickMs: 5, compactAboveBytes: 20_000 }
  })

test('[REC-34] two nodes with real logs agree, and keep everything over a restart with a torn last frame', async () => {
  const mesh = new Mesh(systemEnvironment)
  const [one, two] = [await nodeOf(mesh, 0), await nodeOf(mesh, 1)]
  for (const node of [one, two]) await node.start()
  for (let number = 0; number < 100; number++) {
    const writes = [one, two].map((node) =>
      node.document.write(noteKind, notePage, { text: `${node.number} ${number}` })
    )
    await inTime('writing', Promise.all(writes))
  }
  await until('both agree', () => agree([one, two]) && textsOf(one).length === 2)
  const digest = one.document.digest()
  for (const node of [one, two]) await node.stop()
  // 200 entries of about 200 bytes were compacted on the way.
  const bytes = await readFile(pathOf(0))
  expect(bytes.length).toBeLessThan(30_000)
  await writeFile(pathOf(0), Buffer.concat([bytes, bytes.subarray(0, 50)]))
  const again = await nodeOf(mesh, 0)
  await again.document.start()
  expect(again.document.digest()).toBe(digest)
  await again.document.stop()
})

test('[REC-33] a sync that fails rejects the write; the next one, a second later, makes the log anew', async () => {
  const mesh = new Mesh(systemEnvironment)
  const node = await nodeOf(mesh, 0)
  await node.start()
  const file = await open('/dev/null')
  const files = Object.getPrototypeOf(file) as { datasync(): Promise<void> }
  await file.close()
  await node.document.write(noteKind, notePage, { text: 'before' })
  vi.spyOn(files, 'datasync').mockRejectedValueOnce(Object.assign(new Error('I/O error'), { code: 'EIO' }))
  await expect(node.document.write(noteKind, notePage, { text: 'lost' })).rejects.toMatchObject({
    code: 'DATA_DIR_UNREADABLE'
  })
  expect(textsOf(node)).toEqual(['before'])
  await node.document.write(noteKind, notePage, { text: 'after' })
  await node.stop()
  const again = await nodeOf(mesh, 0)
  await again.document.start()
  expect(again.document.entries(noteKind, notePage)).toMatchObject([{ seq: 1, body: { text: 'after' } }])
  await again.document.stop()
})
