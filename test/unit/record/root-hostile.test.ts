import { mkdtemp, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { encode } from '../../../src/core/codec.js'
import { errorCode, messageOf } from '../../../src/core/errors.js'
import { encodeSignedRoot, rootHash, type SignedRoot } from '../../../src/identity/fleet-root.js'
import { MemoryNetwork } from '../../../src/net/memory-network.js'
import { rootProtocol } from '../../../src/record/root-exchange.js'
import { RootFile } from '../../../src/record/root-file.js'
import { fleetOf, firstRoot, nextRoot } from '../../support/fleet-roots.js'
import { keyPairOf } from './fixtures.js'
import { virtualMesh, type RecordNode, type VirtualMesh } from './mesh.js'

const first = await firstRoot()
const fleet = fleetOf(first)
const hashes = (...roots: SignedRoot[]): Uint8Array[] => roots.map((root) => Buffer.from(rootHash(root), 'base64url'))
const message = (root: SignedRoot): unknown => [1, encodeSignedRoot(root)]

interface Attack {
  readonly mesh: VirtualMesh
  readonly node: RecordNode
  readonly attacker: MemoryNetwork
  readonly warnings: string[]
}

async function attack(): Promise<Attack> {
  const mesh = virtualMesh(1, { maxLinks: 0 })
  const warnings: string[] = []
  const drop = (): void => {}
  const logger = { debug: drop, info: drop, error: drop, warn: (text: string) => void warnings.push(text) }
  const node = await mesh.node(0, { fleet, logger })
  await mesh.environment.clock.run(node.start())
  const attacker = new MemoryNetwork({ nodeId: (await keyPairOf(9)).nodeId, hub: mesh.hub })
  attacker.start()
  await mesh.environment.clock.run(attacker.dial(node.network.addresses()[0] ?? ''))
  return { mesh, node, attacker, warnings }
}

/** Speaks first, as the peer that begins an exchange does, and reads what comes until the end. */
async function say({ mesh, node, attacker }: Attack, messages: readonly unknown[]): Promise<number> {
  const talk = async (): Promise<number> => {
    const channel = await attacker.open(node.network.nodeId, rootProtocol, { maxFrameBytes: 1_000_000 })
    let received = 0
    try {
      for (const each of messages) await channel.send([each instanceof Uint8Array ? each : encode(each)])
      await channel.close()
      for await (const frame of channel.frames()) received += frame.byteLength > 100 ? 1 : 0
    } catch {
      // Cut off.
    }
    return received
  }
  const received = await mesh.environment.clock.run(talk())
  await mesh.environment.clock.advance(1000)
  return received
}

const forged = await nextRoot(first, { operators: [(await keyPairOf(9)).nodeId] }, 7)
const foreign = await firstRoot({ issuedAt: 77 })
const second = await nextRoot(first, {})
const third = await nextRoot(second, {})

describe('a hostile peer', () => {
  test.each<[string, readonly unknown[]]>([
    ['a root that others signed', [[0, hashes(first, forged)], message(forged), [2]]],
    ['a root that nobody signed', [[0, hashes(first)], message({ ...second, signatures: [] }), [2]]],
    ['the first root of another fleet', [[0, hashes(foreign)], message(foreign), [2]]],
    ['a root with a gap before it', [[0, hashes(first, third)], message(third), [2]]],
    ['what is no root', [[0, hashes(first)], [1, new Uint8Array(500)], [2]]],
    ['what is no message', [new Uint8Array(500)]],
    ['messages out of turn', [[2]]],
    [
      'hashes twice',
      [
        [0, hashes(first)],
        [0, hashes(first)]
      ]
    ],
    ['hashes of a wrong length', [[0, [new Uint8Array(31)]]]],
    ['too many hashes', [[0, Array.from({ length: 1025 }, () => new Uint8Array(32))]]]
  ])('[ROOT-9] that sends %s is hung up on and named, and nothing changes', async (_what, messages) => {
    const scene = await attack()
    await say(scene, messages)
    expect(scene.node.root?.chain.map(rootHash)).toEqual([rootHash(first)])
    expect([scene.node.network.peers(), scene.warnings.length]).toEqual([[], 1])
    expect(scene.warnings[0]).toContain(scene.attacker.nodeId)
    expect(scene.node.disk.roots?.map(rootHash)).toEqual([rootHash(first)])
    await scene.mesh.environment.clock.run(scene.node.stop())
  })

  test('[ROOT-9] that claims roots and sends none, or knows less, is answered and left alone', async () => {
    const scene = await attack()
    expect(await say(scene, [[0, [...hashes(first), new Uint8Array(32)]], [2]])).toBe(0)
    expect(await say(scene, [[0, []], [2]])).toBe(1)
    expect(await say(scene, [[0, hashes(first, second)], message(second), [2]])).toBe(0)
    expect(scene.node.root?.chain.map(rootHash)).toEqual([rootHash(first), rootHash(second)])
    expect([scene.node.network.peers(), scene.warnings]).toEqual([[scene.attacker.nodeId], []])
  })

  test('[ROOT-9] that falls silent is given up, and stopping does not wait for it', async () => {
    const scene = await attack()
    const { mesh, node, attacker } = scene
    const open = (): Promise<unknown> =>
      mesh.environment.clock.run(attacker.open(node.network.nodeId, rootProtocol, { maxFrameBytes: 1000 }))
    await open()
    await mesh.environment.clock.advance(11_000)
    expect(scene.warnings).toEqual([])
    await open()
    const before = mesh.environment.clock.monotonic()
    await mesh.environment.clock.run(node.stop())
    expect(mesh.environment.clock.monotonic() - before).toBeLessThan(1000)
  })
})

describe('the file', () => {
  let directory = ''
  beforeEach(async () => {
    directory = await mkdtemp(join(tmpdir(), 'murmurate-root-'))
  })
  afterEach(() => rm(directory, { recursive: true, force: true }))
  const file = (): RootFile => new RootFile(join(directory, 'record', 'root'), fleet.fleetId)

  test('[ROOT-7] what was saved last comes back whole; the file is for its owner alone, and no draft is left', async () => {
    expect(await file().load()).toEqual([])
    await file().save([first])
    await file().save([first, second])
    expect((await file().load()).map(rootHash)).toEqual([first, second].map(rootHash))
    expect((await stat(join(directory, 'record', 'root'))).mode & 0o777).toBe(0o600)
    expect(await readdir(join(directory, 'record'))).toEqual(['root'])
  })

  test('[ROOT-7] a damaged file, or that of another fleet, is an error that says what to do', async () => {
    const path = join(directory, 'record', 'root')
    await file().save([first, second])
    const whole = await readFile(path)
    const damages: (() => Promise<void>)[] = [
      () => truncate(path, 200),
      () => writeFile(path, whole.with(300, (whole[300] ?? 0) ^ 1)),
      () => writeFile(path, encode([encodeSignedRoot(second)])),
      () => writeFile(path, encode([encodeSignedRoot(foreign)])),
      () => writeFile(path, ''),
      () => truncate(path, 200_000_000)
    ]
    for (const damage of damages) {
      await damage()
      const error = await file()
        .load()
        .catch((cause: unknown) => cause)
      expect(errorCode(error)).toBe('ROOT_UNREADABLE')
      expect(messageOf(error)).toContain(path)
      expect((error as { next: string }).next).toContain('Delete record/root')
    }
  })

  test('[ROOT-7] where nothing can be written, saving says so', async () => {
    await writeFile(join(directory, 'record'), '')
    expect(await file().save([first]).catch(errorCode)).toBe('DATA_DIR_UNREADABLE')
    expect(await file().load().catch(errorCode)).toBe('ROOT_UNREADABLE')
  })
})
