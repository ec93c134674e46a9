import '../../../src/core/polyfill.js'
import { z } from 'zod'
import { encode } from '../../../src/core/codec.js'
import { silentLogger, type Logger } from '../../../src/core/logger.js'
import { parsePageId, type NodeId, type PageId } from '../../../src/core/ids.js'
import { keyPairFromSeed, type KeyPair } from '../../../src/identity/keypair.js'
import { SignatureVerifier } from '../../../src/identity/signature.js'
import { clientIdOf, sealEntry } from '../../../src/record/entry.js'
import { Page } from '../../../src/record/page.js'
import { Policy, type PageKind } from '../../../src/record/policy.js'
import { PageStore } from '../../../src/record/store.js'
import { writeUpdate, type Chain } from '../../../src/record/yjs-update.js'

/** A body small enough to read in a failed test. */
export interface Note {
  readonly text: string
}

const noteSchema = z.object({ text: z.string() })

/** Pages `note/<name>`: anybody may write anything but the word "forbidden". */
export const noteKind: PageKind<Note> = {
  name: 'note',
  maxPagesPerWriter: 65_536,
  schema: noteSchema,
  isPage: (page) => /^note\/[a-z0-9]+$/.test(page),
  mayWrite: (_page, _writer, body) => body.text !== 'forbidden'
}

/** Pages `stone/<name>`: what is written stays. */
export const stoneKind: PageKind<Note> = {
  name: 'stone',
  maxPagesPerWriter: 65_536,
  schema: noteSchema,
  isPage: (page) => page.startsWith('stone/'),
  mayWrite: () => true,
  immutable: true
}

/** Pages `cell/<name>`: few for each writer. */
export const cellKind: PageKind<Note> = {
  ...noteKind,
  name: 'cell',
  maxPagesPerWriter: 5,
  isPage: (page) => page.startsWith('cell/')
}

export const notePage: PageId = parsePageId('note/a')
export const stonePage: PageId = parsePageId('stone/a')

const keyPairs = new Map<number, Promise<KeyPair>>()

/** The same key pair for the same number, 0 to 65 534; each is made once. */
export function keyPairOf(number: number): Promise<KeyPair> {
  const seed = new Uint8Array(32).fill((number + 1) & 0xff)
  seed[0] = (seed[0] ?? 0) ^ ((number + 1) >> 8)
  const keyPair = keyPairs.get(number) ?? keyPairFromSeed(seed)
  keyPairs.set(number, keyPair)
  return keyPair
}

/** What an entry made for a test can say. */
export interface EntryOptions {
  readonly page?: PageId
  readonly seq?: number
  readonly start?: number
  readonly epoch?: number
  readonly issuedAt?: number
  readonly body?: unknown
}

/** A chain as an honest writer makes it. */
export function chainOf(keyPair: KeyPair, options: EntryOptions = {}): Chain & { readonly key: NodeId } {
  const { page = notePage, seq = 0, start = 0, epoch = 0, issuedAt = 1000 } = options
  const body = encode(options.body ?? { text: `text ${seq}` })
  const value = sealEntry(keyPair, { page, writer: keyPair.nodeId, seq }, { epoch, issuedAt, body })
  return { client: clientIdOf(page, keyPair.nodeId), start, seq, value, key: keyPair.nodeId }
}

/** An update of one chain as an honest writer makes it. */
export function updateOf(keyPair: KeyPair, options: EntryOptions = {}): Uint8Array {
  return writeUpdate([chainOf(keyPair, options)])
}

/** A logger that remembers warnings and errors. */
export function listeningLogger(): Logger & { readonly lines: string[] } {
  const lines: string[] = []
  const keep = (message: string): void => void lines.push(message)
  return { ...silentLogger, warn: keep, error: keep, lines }
}

/** A store that knows the kinds of this file. */
export function makeStore(logger: Logger = silentLogger, verifier = new SignatureVerifier()): PageStore {
  const policy = new Policy()
  for (const kind of [noteKind, stoneKind, cellKind]) policy.register(kind as PageKind)
  return new PageStore(policy, verifier, logger)
}

/** A store that has taken these updates, and the page they are for. */
export function storeWith(updates: readonly Uint8Array[], page: PageId = notePage): { store: PageStore; page: Page } {
  const store = makeStore()
  for (const update of updates) store.ingest([{ page, update }])
  return { store, page: store.page(page) ?? new Page(page) }
}
