import { generateKeyPair, privateKeyFromRaw } from '@libp2p/crypto/keys'
import { peerIdFromPrivateKey, peerIdFromString } from '@libp2p/peer-id'
import { expect, test } from 'vitest'
import { systemEnvironment } from '../../../src/core/environment.js'
import { parseNodeId, type NodeId } from '../../../src/core/ids.js'
import { ephemeralKeyPair } from '../../../src/identity/keypair.js'
import { nodeIdOf, publicKeyOf } from '../../../src/identity/node-id.js'
import { caught } from '../core/caught.js'

test('[ID-5] a node id is the libp2p peer id of the same key', async () => {
  for (let round = 0; round < 20; round++) {
    const pair = await ephemeralKeyPair(systemEnvironment.random)
    const libp2pKey = privateKeyFromRaw(Buffer.concat([pair.seed, pair.publicKey]))
    expect(pair.nodeId).toBe(peerIdFromPrivateKey(libp2pKey).toString())
    expect(parseNodeId(pair.nodeId)).toBe(pair.nodeId)
  }
})

test('the public key is read back as libp2p reads it', async () => {
  const key = await generateKeyPair('Ed25519')
  const text = peerIdFromPrivateKey(key).toString()
  expect(publicKeyOf(parseNodeId(text))).toEqual(peerIdFromString(text).publicKey?.raw)
  expect(nodeIdOf(key.publicKey.raw)).toBe(text)
})

test('all keys give an id that has the form of one: no prefix varies', () => {
  for (const byte of [0, 1, 127, 128, 255]) {
    const id = nodeIdOf(new Uint8Array(32).fill(byte))
    expect(publicKeyOf(parseNodeId(id))).toEqual(new Uint8Array(32).fill(byte))
  }
})

test.each([
  ['another kind of key', 'QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N'],
  ['another length', '12D3KooW'],
  ['an id in range of the pattern, but no Ed25519 key', `12D3KooW${'z'.repeat(44)}`],
  ['no base58', '12D3KooW0OIl'],
  ['nothing', '']
])('%s is MALFORMED', (_, text) => {
  expect(caught(() => publicKeyOf(text as NodeId))?.code).toBe('MALFORMED')
})
