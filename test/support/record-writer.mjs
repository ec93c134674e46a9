/**
 * A process that writes one page as fast as its disk lets it, until it is killed. It prints what it says to others
 * (`said <clock> <epoch> <text>`, after it is on the disk) and what was acknowledged (`done <text>`).
 */
import { writeSync } from 'node:fs'
import { join } from 'node:path'

const [, , base, directory, first] = process.argv
await import(`${base}/core/polyfill.js`)
const { z } = await import('zod')
const { systemEnvironment: environment } = await import(`${base}/core/environment.js`)
const { silentLogger: logger } = await import(`${base}/core/logger.js`)
const { keyPairFromSeed, recordLogKey } = await import(`${base}/identity/keypair.js`)
const { MemoryHub, MemoryNetwork } = await import(`${base}/net/memory-network.js`)
const { RecordLog } = await import(`${base}/record/log.js`)
const { SharedDocument } = await import(`${base}/record/shared-document.js`)

const say = (line) => writeSync(1, `${line}\n`)
const keyPair = await keyPairFromSeed(new Uint8Array(32).fill(1))
const network = new MemoryNetwork({ nodeId: keyPair.nodeId, hub: new MemoryHub({ environment }) })
const log = new RecordLog(join(directory, 'log'), recordLogKey(keyPair))
const document = new SharedDocument(
  { network, keyPair, log, environment, logger },
  { topic: 't', gossipTickMs: 1, syncPeriodMs: 60_000, syncSilenceMs: 1000, compactAboveBytes: 2000 }
)
const kind = {
  name: 'note',
  maxPagesPerWriter: 64,
  schema: z.object({ text: z.string() }),
  isPage: () => true,
  mayWrite: () => true
}
document.register(kind)
document.subscribe(kind, (entries) => {
  for (const { seq, epoch, body } of entries) say(`said ${seq} ${epoch} ${body.text}`)
})
await document.start()
for (let number = Number(first); ; number++) {
  await document.write(kind, 'note/a', { text: `${number}` })
  say(`done ${number}`)
}
