import { expect, test } from 'vitest'
import { parsePageId } from '../../../src/core/ids.js'
import { encodeSync, type SyncMessage } from '../../../src/record/sync-messages.js'
import { HostilePeer, openingMessage } from './hostile.js'
import { deaf, started, textsOf, virtualMesh, write, type RecordNode, type VirtualMesh } from './mesh.js'

interface Scene {
  readonly mesh: VirtualMesh
  readonly one: RecordNode
  readonly two: RecordNode
  readonly bad: HostilePeer
}

async function scene(): Promise<Scene> {
  const mesh = virtualMesh(1, deaf)
  const [one, two] = await started(mesh, 2, { init: { syncSilenceMs: 5000 } })
  return { mesh, one, two, bad: await HostilePeer.join(mesh) }
}

const silence = { type: 'slices', items: [], last: false } as const

test('[REC-44] a peer that asks and then says nothing is given up after the time of silence, and not blamed', async () => {
  const { mesh, one, bad } = await scene()
  const { clock } = mesh.environment
  const channel = await bad.open(one)
  const before = clock.monotonic()
  const reading = clock.run(
    (async () => {
      for await (const frame of channel.frames()) expect(frame).toBeUndefined()
    })()
  )
  await expect(reading).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
  expect(clock.monotonic() - before).toBeLessThan(5100)
  expect(bad.conductAt(one)).toBeUndefined()
})

test('[REC-44] a peer that takes nothing is given up after the time of silence', async () => {
  const { mesh, one, bad } = await scene()
  const { clock } = mesh.environment
  const filler = 'x'.repeat(60_000)
  const pages = Array.from({ length: 20 }, (_, page) => parsePageId(`note/${page}`)).sort()
  for (const page of pages) await clock.run(write(one, filler, page))
  const everything: SyncMessage = { type: 'wants', items: pages.map((page) => ({ page, rows: undefined })), last: true }
  const channel = await bad.begin(one, [openingMessage, { ...silence, last: true }, everything])
  await clock.advance(20_000)
  await expect(clock.run(channel.send([encodeSync(silence)]))).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
})

test('[REC-44] a peer that begins a round ends its last one', async () => {
  const { mesh, one, bad } = await scene()
  const { clock } = mesh.environment
  const [first, second] = [await bad.open(one), await bad.open(one)]
  await clock.advance(100)
  await expect(clock.run(first.send([encodeSync(silence)]))).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
  await clock.run(second.send([encodeSync(openingMessage)]))
})

test('[REC-44] a peer that draws its round out does not keep others from theirs', async () => {
  const { mesh, one, two, bad } = await scene()
  const { clock } = mesh.environment
  let rounds = 0
  bad.serve(async (channel) => {
    rounds += 1
    for (;;) {
      await channel.send([encodeSync({ type: 'pages', items: [], last: false })])
      await new Promise<void>((resolve) => clock.setTimer(1000, resolve))
    }
  })
  await clock.advance(60_000)
  expect(rounds).toBeGreaterThan(0)
  await clock.run(write(one, 'one'))
  await clock.advance(300_000)
  expect(textsOf(two)).toEqual(['one'])
})
