import { inspect } from 'node:util'
import { expect, test } from 'vitest'
import { createMeshSecret, deriveMeshKeys } from '../../../src/identity/mesh-secret.js'
import { parseFleetId } from '../../../src/identity/fleet-root.js'
import { seededRandom } from '../../support/virtual-clock.js'
import { caught } from '../core/caught.js'

const secret = createMeshSecret(seededRandom(5))
const payload = secret.slice('murmurate-secret-1:'.length)

test('a new secret has its form and 256 bits', () => {
  expect(secret).toMatch(/^murmurate-secret-1:[A-Za-z0-9_-]{43}$/)
  expect(createMeshSecret(seededRandom(6))).not.toBe(secret)
})

test('what is derived is the same for the same secret, white space around it included', () => {
  expect(deriveMeshKeys(` ${secret}\n`)).toEqual(deriveMeshKeys(secret))
})

test('[ID-9] everything derived differs between secrets and between purposes', () => {
  const [one, two] = [deriveMeshKeys(secret), deriveMeshKeys(createMeshSecret(seededRandom(6)))]
  expect(one.networkKey).toHaveLength(32)
  expect(one.networkKey).not.toEqual(two.networkKey)
  expect(one.topicPrefix).not.toBe(two.topicPrefix)
  expect(one.discoveryTag).not.toBe(two.discoveryTag)
  const networkKey = Buffer.from(one.networkKey).toString('hex')
  const [topic] = one.topicPrefix.split('/').slice(1)
  const [tag] = /[0-9a-f]{10}/.exec(one.discoveryTag) ?? []
  expect(networkKey).not.toContain(topic)
  expect(networkKey).not.toContain(tag)
  expect(topic).not.toContain(tag)
})

test('[ID-9] nothing derived contains the secret', () => {
  const raw = Buffer.from(payload, 'base64url')
  const shown = inspect(deriveMeshKeys(secret), { depth: 5 })
  expect(shown).not.toContain(payload)
  expect(Buffer.from(deriveMeshKeys(secret).networkKey).equals(raw)).toBe(false)
})

test('the service name is a valid mDNS one', () => {
  expect(deriveMeshKeys(secret).discoveryTag).toMatch(/^_[a-z0-9-]{1,15}\._udp\.local$/)
})

test.each([
  ['empty', ''],
  ['without its beginning', payload],
  ['of another version', `murmurate-secret-2:${payload}`],
  ['cut', secret.slice(0, -1)],
  ['too long', `${secret}A`],
  ['of other letters', `${secret.slice(0, -1)}+`],
  ['with a break inside', `${secret.slice(0, 40)}\n${secret.slice(40)}`]
])('[ID-10] a secret %s is SECRET_MALFORMED, and the error does not show it', (_, text) => {
  const error = caught(() => deriveMeshKeys(text))
  expect(error?.code).toBe('SECRET_MALFORMED')
  const shown = inspect(error, { depth: 10, showHidden: true }) + JSON.stringify(error)
  expect(shown).not.toContain(payload.slice(0, 20))
  expect(shown).not.toContain(payload.slice(-20, -2))
})

test('[ROOT-17] a fleet with a root has a mesh of its own, and a mesh without one the keys that it always had', () => {
  const [one, two] = [
    parseFleetId(`murmurate-fleet-1:${'A'.repeat(43)}`),
    parseFleetId(`murmurate-fleet-1:${'B'.repeat(42)}A`)
  ]
  const plain = deriveMeshKeys(`murmurate-secret-1:${'A'.repeat(43)}`)
  const others = [one, two].map((fleetId) => deriveMeshKeys(`murmurate-secret-1:${'A'.repeat(43)}`, fleetId))
  for (const part of ['networkKey', 'topicPrefix', 'discoveryTag'] as const) {
    expect(new Set([plain, ...others].map((keys) => String(keys[part]))).size).toBe(3)
  }
  expect(Buffer.from(plain.networkKey).toString('hex')).toBe(
    '12e81f8d47070a34625f3af45e27596373e17917db8be339ecc4b154436c1811'
  )
  expect([plain.topicPrefix, plain.discoveryTag]).toEqual(['murmurate/58d6542e94b0a62c', '_mm-d66a56d000._udp.local'])
})
