import { expect, test } from 'vitest'
import { diskError, freeDiskBytes, syncDirectory } from '../../../src/core/durable.js'
import { MurmurateError } from '../../../src/core/errors.js'

const systemError = (code: string): Error => Object.assign(new Error(`${code}: it failed`), { code })

test.each(['ENOSPC', 'EDQUOT'])(
  '%s of the system is INSUFFICIENT_STORAGE, with the numbers and the cause',
  async (code) => {
    const cause = systemError(code)
    const error = await diskError(cause, '/tmp/log', 300)
    expect(error).toMatchObject({ code: 'INSUFFICIENT_STORAGE', details: { requiredBytes: 300 }, cause })
    expect(error.details?.['availableBytes']).toBeGreaterThan(0)
    expect(await freeDiskBytes('/tmp')).toBeGreaterThan(0)
  }
)

test('when nobody can say what is free, it is 0', async () => {
  const error = await diskError(systemError('ENOSPC'), '/tmp/no such directory/log', 300)
  expect(error.details).toEqual({ path: '/tmp/no such directory/log', requiredBytes: 300, availableBytes: 0 })
})

test.each(['EIO', 'EROFS', 'EACCES'])(
  '%s of the system is DATA_DIR_UNREADABLE, with the path and the cause',
  async (code) => {
    const cause = systemError(code)
    const error = await diskError(cause, '/data/log', 300)
    expect(error).toMatchObject({ code: 'DATA_DIR_UNREADABLE', details: { path: '/data/log', code }, cause })
  }
)

test("an error of the library's own is handed on", async () => {
  const own = new MurmurateError('MALFORMED', 'x')
  expect(await diskError(own, '/data/log', 0)).toBe(own)
})

test('a directory that is there is synced, one that is not is an error', async () => {
  await syncDirectory('/tmp')
  await expect(syncDirectory('/tmp/no such directory')).rejects.toMatchObject({ code: 'ENOENT' })
})
