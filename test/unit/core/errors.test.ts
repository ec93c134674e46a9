import { expect, test } from 'vitest'
import { errorCode, errorTable, messageOf, MurmurateError, systemCode } from '../../../src/core/errors.js'

test('an error carries its code, details, cause and the next step of its row', () => {
  const cause = new Error('disk')
  const error = new MurmurateError('BLOB_CORRUPT', 'chunk 3 is wrong', { details: { chunk: 3 }, cause })
  expect(error).toBeInstanceOf(Error)
  expect(error).toMatchObject({
    name: 'MurmurateError',
    code: 'BLOB_CORRUPT',
    message: 'chunk 3 is wrong',
    details: { chunk: 3 },
    cause,
    next: errorTable.BLOB_CORRUPT.next
  })
})

test('without options there are empty details and no cause property', () => {
  const error = new MurmurateError('TIMEOUT', 'late')
  expect(error.details).toEqual({})
  expect('cause' in error).toBe(false)
})

test('every row says what happened and what to do, in whole sentences', () => {
  for (const [code, row] of Object.entries(errorTable)) {
    expect(code).toMatch(/^[A-Z]+(_[A-Z]+)*$/)
    expect(row.what, code).toMatch(/^[A-Z].*\.$/)
    expect(row.next, code).toMatch(/^[A-Z].*\.$/)
  }
  expect(Object.isFrozen(errorTable)).toBe(true)
})

test('codes are read from anything thrown', () => {
  expect(errorCode(new MurmurateError('ABORTED', 'x'))).toBe('ABORTED')
  expect(errorCode(Object.assign(new Error('x'), { code: 'ABORTED' }))).toBeUndefined()
  expect(systemCode(Object.assign(new Error('x'), { code: 'ENOENT' }))).toBe('ENOENT')
  expect(systemCode(Object.assign(new Error('x'), { code: 7 }))).toBeUndefined()
  expect(systemCode('ENOENT')).toBeUndefined()
})

test('messages are read from anything thrown', () => {
  expect(messageOf(new Error('boom'))).toBe('boom')
  expect(messageOf('boom')).toBe('boom')
  expect(messageOf(undefined)).toBe('undefined')
})
