import { expect, test } from 'vitest'
import { diskError, syncDirectory } from '../../../src/core/durable.js'
import { MurmurateError } from '../../../src/core/errors.js'

const systemError = (code: string): Error => Object.assign(new Error(`${code}: it failed`), { code })

test.each([
  ['ENOSPC', 'INSUFFICIENT_STORAGE'],
  ['EDQUOT', 'INSUFFICIENT_STORAGE'],
  ['EIO', 'DATA_DIR_UNREADABLE'],
  ['EROFS', 'DATA_DIR_UNREADABLE'],
  ['EACCES', 'DATA_DIR_UNREADABLE']
])('%s of the system is %s, with the path and the cause', (code, expected) => {
  const cause = systemError(code)
  expect(diskError('/data/log', cause)).toMatchObject({ code: expected, details: { path: '/data/log' }, cause })
})

test("an error of the library's own is handed on", () => {
  const own = new MurmurateError('MALFORMED', 'x')
  expect(diskError('/data/log', own)).toBe(own)
})

test('a directory that is there is synced, one that is not is an error', async () => {
  await syncDirectory('/tmp')
  await expect(syncDirectory('/tmp/no such directory')).rejects.toMatchObject({ code: 'ENOENT' })
})
