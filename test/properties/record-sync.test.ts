import fc from 'fast-check'
import { expect, inject, test } from 'vitest'
import { parsePageId } from '../../src/core/ids.js'
import { noteKind } from '../unit/record/fixtures.js'
import { agree, emptyDisk, imageOf, virtualMesh, type RecordNode, type VirtualMesh } from '../unit/record/mesh.js'

/** Something that happens to a mesh. Numbers name nodes and pages, taken modulo how many there are. */
type Step =
  | { readonly do: 'write'; readonly node: number; readonly page: number }
  | { readonly do: 'cut' | 'heal'; readonly node: number; readonly other: number }
  | { readonly do: 'isolate' | 'join' | 'restart' | 'kill'; readonly node: number }
  | { readonly do: 'wait'; readonly ms: number }

const node = fc.nat(7)
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('write' as const), node, page: fc.nat(2) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constantFrom('cut' as const, 'heal' as const), node, other: node }) },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constantFrom('isolate' as const, 'join' as const, 'restart' as const, 'kill' as const),
      node
    })
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 3000 }) }) }
)
const scenario = fc.record({
  seed: fc.nat(1_000_000),
  count: fc.integer({ min: 2, max: 5 }),
  air: fc.record({
    gossipLoss: fc.constantFrom(0, 0.1, 0.5, 1),
    gossipDuplication: fc.constantFrom(0, 0.5),
    latencyMs: fc.constantFrom([1, 5] as const, [1, 400] as const)
  }),
  compactAboveBytes: fc.constantFrom(500, 1_000_000),
  steps: fc.array(step, { minLength: 5, maxLength: 60 })
})
type Scenario = typeof scenario extends fc.Arbitrary<infer Value> ? Value : never

class Run {
  readonly mesh: VirtualMesh
  readonly nodes: RecordNode[] = []
  /** What each node was told is written, by page: `<node> <page>` to text. */
  readonly acknowledged = new Map<string, number>()
  readonly #init: { readonly compactAboveBytes: number }
  readonly #dead = new WeakSet<RecordNode>()
  #written = 0

  constructor({ seed, air, compactAboveBytes }: Scenario) {
    this.mesh = virtualMesh(seed, air)
    this.#init = { compactAboveBytes }
  }

  async begin(count: number): Promise<void> {
    for (let number = 0; number < count; number++) {
      this.nodes.push(
        await this.mesh.node(number, { init: this.#init, disk: { ...emptyDisk(), syncMs: 1 + 20 * number } })
      )
      await this.#at(number).start()
    }
  }

  async take(step: Step): Promise<void> {
    const { hub, environment } = this.mesh
    if (step.do === 'wait') return environment.clock.advance(step.ms)
    const one = this.#at(step.node)
    const id = one.keyPair.nodeId
    if (step.do === 'write') this.#write(one, step.page)
    else if (step.do === 'cut') hub.cut(id, this.#at(step.other).keyPair.nodeId)
    else if (step.do === 'heal') hub.heal(id, this.#at(step.other).keyPair.nodeId)
    else if (step.do === 'isolate') hub.isolate(id)
    else if (step.do === 'join') hub.heal(id)
    else await this.#restart(one, step.do === 'kill')
  }

  async end(): Promise<void> {
    const { hub, environment } = this.mesh
    const ids = this.nodes.map(({ keyPair }) => keyPair.nodeId)
    for (const one of ids) {
      hub.heal(one)
      for (const other of ids) hub.heal(one, other)
    }
    await environment.clock.advance(10 * 15_000)
  }

  /** Texts are numbers that rise, so a later acknowledgement is a larger one. */
  lost(): string[] {
    return [...this.acknowledged].flatMap(([key, number]) => {
      const [at, page] = key.split(' ')
      const writer = this.#at(Number(at)).keyPair.nodeId
      const entry = this.#at(0).document.entry(noteKind, parsePageId(page), writer)
      return Number(entry?.body.text ?? -1) >= number ? [] : [`${key}: ${number}, there is ${entry?.body.text}`]
    })
  }

  #write(one: RecordNode, pageNumber: number): void {
    const page = `note/${pageNumber}`
    const number = this.#written++
    const key = `${one.number} ${page}`
    one.document.write(noteKind, parsePageId(page), { text: String(number) }).then(
      () => {
        if (!this.#dead.has(one)) this.acknowledged.set(key, Math.max(number, this.acknowledged.get(key) ?? -1))
      },
      // A node that was stopped acknowledged nothing.
      () => {}
    )
  }

  /** With `kill`, the disk is as it was at that moment: nothing that was under way gets there. */
  async #restart(one: RecordNode, kill: boolean): Promise<void> {
    const disk = kill ? imageOf(one.disk) : one.disk
    if (kill) {
      this.#dead.add(one)
      one.network.stop()
    }
    await this.mesh.environment.clock.run(one.stop())
    const again = await this.mesh.node(one.number, { init: this.#init, disk })
    this.nodes[one.number] = again
    await again.start()
  }

  #at(number: number): RecordNode {
    const found = this.nodes[number % this.nodes.length]
    if (found === undefined) throw new Error('The mesh has no nodes')
    return found
  }
}

test('[REC-47] any interleaving, loss, duplication, partition and restart ends in equal documents after the heal', async () => {
  await fc.assert(
    fc.asyncProperty(scenario, async (plan) => {
      const run = new Run(plan)
      await run.begin(plan.count)
      for (const one of plan.steps) await run.take(one)
      await run.end()
      expect(agree(run.nodes)).toBe(true)
      expect(run.lost()).toEqual([])
    }),
    { numRuns: 12 * inject('seeds'), seed: 20_263 }
  )
}, 60_000)
