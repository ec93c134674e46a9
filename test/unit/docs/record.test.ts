import { createContext, runInContext } from 'node:vm'
import { expect, test } from 'vitest'
import * as Y from 'yjs'
import { keyPairOf, notePage, storeWith, updateOf } from '../record/fixtures.js'
import { claimOf, openEntry } from '../../../src/record/entry.js'
import { SignatureVerifier } from '../../../src/identity/signature.js'
import { readText } from './documents.js'

/** What the snippet of the page finds. */
interface Found {
  readonly writer: string
  readonly signature: Uint8Array
  readonly content: Uint8Array
}

test('[REC-9] the lines in docs/record.md read every entry of an exported page with Yjs alone', async () => {
  const [, code = ''] = /```js\n([\s\S]*?)```/.exec(readText('docs/record.md')) ?? []
  const writers = await Promise.all([1, 2, 3].map(keyPairOf))
  const { page } = storeWith(writers.flatMap((writer) => [updateOf(writer), updateOf(writer, { seq: 1, start: 1 })]))
  const context = createContext({ Y, update: page.export() })
  const found = runInContext(`${code}\nentries`, context) as Found[]
  expect(found.map(({ writer }) => writer).sort()).toEqual(writers.map(({ nodeId }) => nodeId).sort())
  for (const { nodeId } of writers) {
    const { signature, content } = found.find(({ writer }) => writer === nodeId) ?? expect.unreachable()
    const sealed = openEntry(Buffer.concat([signature, content]))
    const { signer, domain, message } = claimOf({ page: notePage, writer: nodeId, seq: 1 }, sealed)
    expect(new SignatureVerifier().verify(signer, domain, message, signature)).toBe(true)
  }
})
