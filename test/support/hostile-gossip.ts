/** Gossip messages of a hostile member. */
import { encode } from '../../src/core/codec.js'
import { maxGossipBytes } from '../../src/net/network.js'
import { encodeUpdates, type PageUpdate } from '../../src/record/wire.js'
import { writeUpdate } from '../../src/record/yjs-update.js'
import { below, pick, type HostileContext } from './hostile-context.js'
import { equivocation, forgeries, oddities, type UpdateAttack } from './hostile-updates.js'

/** What goes out at once. */
export interface GossipAttack {
  /** Whether it makes entries of the hostile member that others must take. */
  readonly makesEntries: boolean
  /** Messages; the first half of the neighbours gets the even ones when it `isSplit`, the other half the odd ones. */
  readonly messages: (context: HostileContext) => readonly Uint8Array[]
  readonly isSplit?: true
}

/** Messages of a flood. */
const floodMessages = 100

function single(makesEntries: boolean, attack: UpdateAttack): GossipAttack {
  return { makesEntries, messages: (context) => messageOf([attack(context)]) }
}

function messageOf(updates: readonly (PageUpdate | undefined)[]): Uint8Array[] {
  const present = updates.filter((update) => update !== undefined)
  return present.length === 0 ? [] : [encodeUpdates(present)]
}

/** An honest entry among lies: it must enter, and the lies must not. */
function smuggled(context: HostileContext): Uint8Array[] {
  const found = pick(context.random, context.captured)
  if (found === undefined) return []
  const honest = { page: found.page, update: writeUpdate([found.chain]) }
  return messageOf([forgeries.forged(context), forgeries.noise(context), honest, forgeries.tampered(context)])
}

function malformed({ random }: HostileContext): Uint8Array[] {
  const page = 'note/0'
  return [
    random.bytes(below(random, 400)),
    new Uint8Array(maxGossipBytes),
    // An array of 2^32 - 1 items.
    Uint8Array.of(0x9a, 0xff, 0xff, 0xff, 0xff),
    // Arrays within arrays.
    new Uint8Array(10_000).fill(0x81),
    encode([[page, 'text']]),
    encode([['../../etc', new Uint8Array(4)]]),
    encode({ page }),
    encode(Array.from({ length: 1000 }, () => [page, new Uint8Array(2)]))
  ]
}

/** Larger than anything that may be published. */
function oversize({ random }: HostileContext): Uint8Array[] {
  return [new Uint8Array(maxGossipBytes + 1 + below(random, maxGossipBytes))]
}

function flood(context: HostileContext): Uint8Array[] {
  const attacks = Object.values<UpdateAttack>(forgeries)
  return Array.from({ length: floodMessages }, () => messageOf([pick(context.random, attacks)?.(context)])).flat()
}

function split(context: HostileContext): Uint8Array[] {
  return (equivocation(context) ?? []).flatMap((update) => messageOf([update]))
}

function named(makesEntries: boolean, attacks: Record<string, UpdateAttack>): (readonly [string, GossipAttack])[] {
  return Object.entries(attacks).map(([name, attack]) => [name, single(makesEntries, attack)])
}

/** All of them, by name. */
export const gossipAttacks: ReadonlyMap<string, GossipAttack> = new Map<string, GossipAttack>([
  ...named(false, forgeries),
  ...named(true, oddities),
  ['smuggled', { makesEntries: false, messages: smuggled }],
  ['malformed', { makesEntries: false, messages: malformed }],
  ['oversize', { makesEntries: false, messages: oversize }],
  ['flood', { makesEntries: false, messages: flood }],
  ['equivocation', { makesEntries: true, messages: split, isSplit: true }]
])
