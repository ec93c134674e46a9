import { decode as decodeCbor, encode as encodeCbor } from '@ipld/dag-cbor'
import type { z } from 'zod'
import { MurmurateError } from './errors.js'

/** Bounds and name of what is decoded. */
export interface DecodeOptions {
  /** Larger inputs are refused before they are looked at. */
  readonly maxBytes: number
  /** What it is, for the error message. */
  readonly what: string
}

/** Canonical DAG-CBOR: sorted keys, shortest integers, no undefined. Properties that are undefined are left out. */
export function encode(value: unknown): Uint8Array {
  return encodeCbor(withoutUndefined(value))
}

/**
 * Decodes DAG-CBOR that came from a peer or from disk, and checks its form.
 *
 * @throws MurmurateError `MALFORMED` when it is too large, is not DAG-CBOR or does not fit the schema
 */
export function decode<T>(bytes: Uint8Array, schema: z.ZodType<T>, options: DecodeOptions): T {
  if (bytes.byteLength > options.maxBytes) {
    throw new MurmurateError(
      'MALFORMED',
      `${options.what} has ${bytes.byteLength} bytes, the limit is ${options.maxBytes}`
    )
  }
  let value: unknown
  try {
    value = decodeCbor(bytes)
  } catch (cause) {
    throw new MurmurateError('MALFORMED', `${options.what} is not valid DAG-CBOR`, { cause })
  }
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new MurmurateError('MALFORMED', `${options.what} has the wrong form: ${issueText(result.error)}`)
}

/**
 * Checks the form of an argument that a caller passed.
 *
 * @throws MurmurateError `INVALID_REQUEST` naming the field
 */
export function check<T>(value: unknown, schema: z.ZodType<T>, what: string): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  throw new MurmurateError('INVALID_REQUEST', `${what}: ${issueText(result.error)}`)
}

function issueText(error: z.ZodError): string {
  const issue = error.issues[0]
  if (issue === undefined) return 'invalid'
  const path = issue.path.join('.')
  return path === '' ? issue.message : `${path}: ${issue.message}`
}

function withoutUndefined(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutUndefined)
  if (value === null || typeof value !== 'object' || Object.getPrototypeOf(value) !== Object.prototype) return value
  return Object.fromEntries(
    Object.entries(value).flatMap(([key, item]) => (item === undefined ? [] : [[key, withoutUndefined(item)]]))
  )
}

/** Whether two byte strings are equal. */
export function equalBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && Buffer.compare(a, b) === 0
}
