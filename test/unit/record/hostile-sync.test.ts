test('[REC-44] a hostile peer cannot end a round wrongly, and the next one with another succeeds', async () => {
  const hostile: readonly (readonly (readonly [Uint8Array])[])[] = [
    [[new Uint8Array()]],
    [[Uint8Array.of(0xff, 0xff)]],
    [[encode([9])]],
    [[encodeSync({ type: 'done' })]],
    [[encodeSync({ type: 'vectors', vectors: [], last: true })], [encode([2, [['../etc', new Uint8Array()]]])]],
    [[encode([1, [['note/a', [[1, 2 ** 53, new Uint8Array(8)]]]], true])]],
    [[encode([1, [['note/a', [[1, 1, new Uint8Array(7)]]]], true])]],
    [[new Uint8Array(maxMessageBytes)]]
  ]
  for (const frames of hostile) {
    const mesh = virtualMesh(1, deaf)
    const { clock } = mesh.environment
    const [one, two] = await started(mesh, 2)
    const bad = await mesh.node(5)
    bad.network.serve(
      syncProtocol,
      async (channel) => {
        for (const parts of frames) await channel.send(parts)
        await channel.close()
      },
      { maxFrameBytes: 2 * maxMessageBytes }
    )
    bad.network.start()
    await clock.run(write(one, 'one'))
    await clock.advance(90_000)
    expect(agree([one, two])).toBe(true)
    expect(textsOf(two)).toEqual(['one'])
  }
})

test('[REC-44] a peer that asks and then says nothing is given up after the time of silence', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1, { init: { syncSilenceMs: 5000 } })
  const silent = await mesh.node(5)
  silent.network.start()
  await clock.advance(100)
  const channel = await clock.run(
    silent.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes })
  )
  const reading = clock.run(
    (async () => {
      for await (const frame of channel.frames()) expect(frame).toBeUndefined()
    })()
  )
  const before = clock.monotonic()
  await expect(reading).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
  expect(clock.monotonic() - before).toBeLessThan(5100)
})

test('[REC-44] lists without end are cut off', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const hostile = await mesh.node(5)
  hostile.network.start()
  await clock.advance(100)
  const channel = await clock.run(
    hostile.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes })
  )
  const endless: SyncMessage = { type: 'digests', digests: [[notePage, new Uint8Array(16)]], last: false }
  const flood = async (): Promise<number> => {
    for (let sent = 0; ; sent++) {
      if (sent === 1000) return sent
      await channel.send([encodeSync(endless)])
      await new Promise<void>((resolve) => clock.setTimer(10, resolve))
    }
  }
  await expect(clock.run(flood())).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
})

test('[REC-44] a peer that draws its round out does not keep others from theirs', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one, two] = await started(mesh, 2)
  const slow = await mesh.node(5)
  let rounds = 0
  slow.network.serve(
    syncProtocol,
    async (channel) => {
      rounds++
      for (;;) {
        await channel.send([encodeSync({ type: 'updates', updates: [] })])
        await new Promise<void>((resolve) => clock.setTimer(1000, resolve))
      }
    },
    { maxFrameBytes: maxMessageBytes }
  )
  slow.network.start()
  await clock.advance(60_000)
  expect(rounds).toBeGreaterThan(0)
  await clock.run(write(one, 'one'))
  await clock.advance(300_000)
  expect(textsOf(two)).toEqual(['one'])
})

test('[REC-44] a peer that takes nothing is given up after the time of silence', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1, { init: { syncSilenceMs: 5000 } })
  const filler = 'x'.repeat(60_000)
  for (let page = 0; page < 20; page++) await clock.run(write(one, filler, parsePageId(`note/${page}`)))
  const deafPeer = await mesh.node(5)
  deafPeer.network.start()
  await clock.advance(100)
  const channel = await clock.run(
    deafPeer.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes })
  )
  await clock.run(channel.send([encodeSync({ type: 'digests', digests: [], last: true })]))
  await clock.run(channel.send([encodeSync({ type: 'vectors', vectors: vectorsOfNothing(20), last: true })]))
  await clock.advance(20_000)
  await expect(clock.run(channel.send([encodeSync({ type: 'done' })]))).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
})

test('[REC-44] a peer that begins a round ends its last one', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const hostile = await mesh.node(5)
  hostile.network.start()
  await clock.advance(100)
  const open = (): Promise<Channel> =>
    clock.run(hostile.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes }))
  const some = encodeSync({ type: 'digests', digests: [], last: false })
  const [first, second] = [await open(), await open()]
  await clock.advance(100)
  await expect(clock.run(first.send([some]))).rejects.toMatchObject({ code: 'NETWORK_ERROR' })
  await clock.run(second.send([some]))
})

test('[REC-44] a vector in many parts costs no more than its length', async () => {
  const mesh = virtualMesh(1, deaf)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const hostile = await mesh.node(5)
  hostile.network.start()
  await clock.advance(100)
  const channel = await clock.run(
    hostile.network.open(one.keyPair.nodeId, syncProtocol, { maxFrameBytes: maxMessageBytes })
  )
  const rows = Array.from({ length: 8000 }, (_, client) => [client, { clock: 1, tag: new Uint8Array(8) }] as const)
  const many = Array.from({ length: 20_000 }, () => [notePage, new Map()] as const)
  const before = performance.now()
  await clock.run(channel.send([encodeSync({ type: 'digests', digests: [], last: true })]))
  await clock.run(channel.send([encodeSync({ type: 'vectors', vectors: [[notePage, new Map(rows)]], last: false })]))
  await clock.run(channel.send([encodeSync({ type: 'vectors', vectors: many, last: true })]))
  await clock.advance(1000)
  expect(performance.now() - before).toBeLessThan(3000)
})

test('[REC-45] a gap asks the peer that sent it, at most once a second', async () => {
  const mesh = virtualMesh(1)
  const { clock } = mesh.environment
  const [one] = await started(mesh, 1)
  const bomber = await mesh.node(5)
  const rounds = vi.fn(() => Promise.resolve())
  bomber.network.serve(syncProtocol, rounds, { maxFrameBytes: maxMessageBytes })
  bomber.network.start()
  await clock.advance(5000)
  rounds.mockClear()
  const stranger = await keyPairOf(9)
  for (let seq = 1; seq <= 100; seq++) {
    const update = updateOf(stranger, { seq: 10 * seq, start: 10 * seq })
    await bomber.network.publish(recordTopic, encodeUpdates([{ page: notePage, update }]))
    await clock.advance(50)
  }
  expect(rounds.mock.calls.length).toBeGreaterThanOrEqual(4)
  expect(rounds.mock.calls.length).toBeLessThanOrEqual(7)
  expect(textsOf(one)).toEqual([])
})
