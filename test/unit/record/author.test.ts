import { expect, test, vi } from 'vitest'
import { parsePageId } from '../../../src/core/ids.js'
import { PageStore } from '../../../src/record/store.js'
import { noteKind } from './fixtures.js'
import { textsOf, virtualMesh } from './mesh.js'

test('[REC-74] a page that fails does not take along what is written with it', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const node = await mesh.node(0)
  await node.start()
  const bad = parsePageId('note/bad')
  const put = Object.getOwnPropertyDescriptor(PageStore.prototype, 'put')?.value as (
    this: PageStore,
    ...args: Parameters<PageStore['put']>
  ) => void
  const broken = vi.spyOn(PageStore.prototype, 'put').mockImplementation(function (this: PageStore, page, entries) {
    if (page === bad) throw new Error('this page is broken')
    put.call(this, page, entries)
  })
  const write = (page: string, text: string): Promise<unknown> =>
    node.document.write(noteKind, parsePageId(page), { text }).catch(String)
  // The first is on its way to the disk alone; the others wait together.
  const writes = [write('note/a', 'a'), write('note/bad', 'b1'), write('note/bad', 'b2'), write('note/c', 'c')]
  expect(await clock.run(Promise.all(writes))).toEqual([
    undefined,
    'Error: this page is broken',
    'Error: this page is broken',
    undefined
  ])
  expect(textsOf(node)).toEqual(['a', 'c'])
  broken.mockRestore()
  await clock.run(write('note/bad', 'b3'))
  expect(textsOf(node)).toEqual(['a', 'b3', 'c'])
})
