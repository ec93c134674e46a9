import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { errorCode } from '../../../src/core/errors.js'
import type { NodeId } from '../../../src/core/ids.js'
import { openAuthority, type Authority, type Role } from '../../../src/identity/authority.js'
import type { Entry } from '../../../src/record/entry.js'
import { rootName } from '../../../src/record/yjs-update.js'
import { silentLogger } from '../../../src/core/logger.js'
import { SignatureVerifier } from '../../../src/identity/signature.js'
import { Policy, type PageKind } from '../../../src/record/policy.js'
import { PageStore } from '../../../src/record/store.js'
import { idsOf } from '../../support/fleet-roots.js'
import { noteKind, notePage, updateOf, type Note } from './fixtures.js'
import { agree, textsOf, virtualMesh, type RecordNode, type VirtualMesh } from './mesh.js'
import { parsePageId } from '../../../src/core/ids.js'

/** Pages `law/<name>`: operators write them. */
const lawKind: PageKind<Note> = {
  ...noteKind,
  name: 'law',
  role: 'operator',
  isPage: (page) => page.startsWith('law/')
}
const lawPage = parsePageId('law/a')

/** An authority that a test changes as it goes. */
class TestAuthority implements Authority {
  id = 'one'
  readonly releaseThreshold = 1
  readonly out = new Set<NodeId>()
  readonly operators = new Set<NodeId>()
  readonly #listeners = new Set<() => void>()

  isMember(nodeId: NodeId): boolean {
    return !this.out.has(nodeId)
  }

  hasRole(nodeId: NodeId, role: Role): boolean {
    return role === 'operator' && this.operators.has(nodeId) && this.isMember(nodeId)
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  change(id: string, step: (authority: this) => void): void {
    this.id = id
    step(this)
    for (const listener of this.#listeners) listener()
  }
}

async function start(
  mesh: VirtualMesh,
  number: number,
  authority: Authority,
  disk?: RecordNode['disk']
): Promise<RecordNode> {
  const node = await mesh.node(number, { authority, ...(disk === undefined ? {} : { disk }) })
  node.document.register(lawKind)
  await mesh.environment.clock.run(node.start())
  await mesh.environment.clock.advance(200)
  return node
}

const laws = (node: RecordNode): string[] => Array.from(node.document.all(lawKind), ({ body }) => body.text).sort()
const [id0, id1] = (await idsOf(0, 1)) as [NodeId, NodeId]

test('[ROOT-11] what a writer without the role signs enters no document, and nobody is blamed for passing it on', async () => {
  const mesh = virtualMesh(1)
  const authority = new TestAuthority()
  const [one, two] = [await start(mesh, 0, openAuthority), await start(mesh, 1, authority)]
  authority.out.add(one.keyPair.nodeId)
  await mesh.environment.clock.run(one.document.write(lawKind, lawPage, { text: 'mine' }))
  await mesh.environment.clock.run(one.document.write(noteKind, notePage, { text: 'mine' }))
  await mesh.environment.clock.advance(60_000)
  expect([laws(two), textsOf(two)]).toEqual([[], []])
  const policy = new Policy(authority)
  policy.register(noteKind as PageKind)
  const store = new PageStore(policy, new SignatureVerifier(), silentLogger)
  const { refusals, declined } = store.ingest([{ page: notePage, update: updateOf(one.keyPair) }])
  expect([refusals, declined]).toEqual([
    [],
    [expect.objectContaining({ reason: expect.stringContaining('does not let') })]
  ])
  expect(two.network.peers()).toEqual([one.keyPair.nodeId])
})

test('[ROOT-18] a node without the right is told so before anything is written, and what would help', async () => {
  const mesh = virtualMesh(1)
  const authority = new TestAuthority()
  const node = await start(mesh, 0, authority)
  const refusal = async (kind: PageKind<Note>, page: typeof lawPage): Promise<unknown> =>
    mesh.environment.clock.run(node.document.write(kind, page, { text: 'x' }).catch((error: unknown) => error))
  const noOperator = await refusal(lawKind, lawPage)
  expect(errorCode(noOperator)).toBe('NOT_PERMITTED')
  expect(noOperator).toMatchObject({ details: { nodeId: id0, role: 'operator', page: lawPage } })
  expect((noOperator as { next: string }).next).toContain('holder of the root key')
  authority.out.add(id0)
  expect(await refusal(noteKind, notePage)).toMatchObject({ code: 'NOT_PERMITTED', details: { role: 'member' } })
  expect(node.disk.records).toEqual([])
})

test('[ROOT-12] what is not permitted any more leaves the document, and listeners and the digest say so', async () => {
  const mesh = virtualMesh(1)
  const authority = new TestAuthority()
  authority.operators.add(id0).add(id1)
  const [one, two] = [await start(mesh, 0, authority), await start(mesh, 1, authority)]
  await mesh.environment.clock.run(one.document.write(lawKind, lawPage, { text: 'first' }))
  await mesh.environment.clock.run(two.document.write(lawKind, lawPage, { text: 'second' }))
  await mesh.environment.clock.run(one.document.write(noteKind, notePage, { text: 'note' }))
  await mesh.environment.clock.advance(1000)
  const heard: [string, string[], string[]][] = []
  const words = (entries: readonly Entry<Note>[]): string[] => entries.map(({ body }) => body.text)
  two.document.subscribe(lawKind, (...changes) => heard.push(['law', ...(changes.map(words) as [string[], string[]])]))
  two.document.subscribe(noteKind, (...changes) =>
    heard.push(['note', ...(changes.map(words) as [string[], string[]])])
  )
  const before = two.document.digest()
  authority.change('two', ({ operators }) => operators.delete(id0))
  expect(heard).toEqual([['law', [], ['first']]])
  expect([laws(two), textsOf(two)]).toEqual([['second'], ['note']])
  expect(two.document.digest()).not.toBe(before)
  expect(two.document.entry(lawKind, lawPage, id0)).toBeUndefined()
  await mesh.environment.clock.advance(60_000)
  expect([laws(one), agree([one, two])]).toEqual([['second'], true])
  const again = await start(mesh, 1, authority, (await stopped(mesh, two)).disk)
  expect(laws(again)).toEqual(['second'])
})

test('[ROOT-12] a page that nobody has an entry on any more is gone, and an export of another has only what is left', async () => {
  const mesh = virtualMesh(1)
  const authority = new TestAuthority()
  authority.operators.add(id0).add(id1)
  const [one, two] = [await start(mesh, 0, authority), await start(mesh, 1, authority)]
  await mesh.environment.clock.run(one.document.write(lawKind, lawPage, { text: 'first' }))
  await mesh.environment.clock.run(two.document.write(lawKind, lawPage, { text: 'second' }))
  await mesh.environment.clock.advance(1000)
  const writers = (): string[] => {
    const doc = new Y.Doc()
    Y.applyUpdate(doc, one.document.export(lawPage) ?? new Uint8Array([0, 0]))
    return [...doc.getMap(rootName).keys()]
  }
  expect(writers()).toHaveLength(2)
  authority.change('two', ({ operators }) => operators.delete(id0))
  expect(writers()).toEqual([id1])
  authority.change('three', ({ operators }) => operators.clear())
  expect(one.document.export(lawPage)).toBeUndefined()
})

test('[ROOT-12] two nodes that go by different roots have different digests', async () => {
  const mesh = virtualMesh(1, { maxLinks: 0 })
  const [a, b] = [new TestAuthority(), new TestAuthority()]
  const [one, two] = [await start(mesh, 0, a), await start(mesh, 1, b)]
  expect(agree([one, two])).toBe(true)
  b.change('two', () => {})
  expect(agree([one, two])).toBe(false)
})

test('[ROOT-13] what was declined before the right was known is fetched once it is', async () => {
  const mesh = virtualMesh(1)
  const [a, b] = [new TestAuthority(), new TestAuthority()]
  a.operators.add(id0)
  const [one, two] = [await start(mesh, 0, a), await start(mesh, 1, b)]
  await mesh.environment.clock.run(one.document.write(lawKind, lawPage, { text: 'first' }))
  await mesh.environment.clock.advance(5000)
  expect(laws(two)).toEqual([])
  b.change('two', ({ operators }) => operators.add(id0))
  await mesh.environment.clock.advance(100)
  expect(laws(two)).toEqual(['first'])
})

test('[ROOT-12] whoever gets the right back writes on, and all agree', async () => {
  const mesh = virtualMesh(1)
  const [a, b] = [new TestAuthority(), new TestAuthority()]
  for (const authority of [a, b]) authority.operators.add(id0)
  const [one, two] = [await start(mesh, 0, a), await start(mesh, 1, b)]
  for (const text of ['first', 'second']) {
    await mesh.environment.clock.run(one.document.write(lawKind, lawPage, { text }))
  }
  await mesh.environment.clock.advance(1000)
  // One has forgotten its entries, two has not: it was away while the right was gone.
  mesh.hub.isolate(id1)
  a.change('two', ({ operators }) => operators.delete(id0))
  a.change('three', ({ operators }) => operators.add(id0))
  b.change('three', () => {})
  await mesh.environment.clock.run(one.document.write(lawKind, lawPage, { text: 'third' }))
  mesh.hub.heal(id1)
  await mesh.environment.clock.advance(60_000)
  expect([laws(one), laws(two), agree([one, two])]).toEqual([['third'], ['third'], true])
})

test('[ROOT-23] a write that is on its way to the disk when the right is lost is refused and does not enter', async () => {
  const mesh = virtualMesh(1)
  const authority = new TestAuthority()
  authority.operators.add(id0)
  const node = await start(mesh, 0, authority)
  for (const text of ['first', 'second']) {
    node.disk.syncMs = 50
    const write = node.document.write(lawKind, lawPage, { text }).catch(errorCode)
    const note = node.document.write(noteKind, notePage, { text })
    await mesh.environment.clock.advance(10)
    if (text === 'second') authority.change('two', ({ operators }) => operators.delete(id0))
    expect(await mesh.environment.clock.run(write)).toBe(text === 'second' ? 'NOT_PERMITTED' : undefined)
    await mesh.environment.clock.run(note)
  }
  expect([laws(node), textsOf(node)]).toEqual([[], ['second']])
})

async function stopped(mesh: VirtualMesh, node: RecordNode): Promise<RecordNode> {
  await mesh.environment.clock.run(node.stop())
  return node
}
