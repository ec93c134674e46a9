import { MurmurateError } from '../core/errors.js'

/** Longest display name of a file, in UTF-8 bytes. */
const maxNameBytes = 1024
/** Longest part between slashes, as on common file systems. */
const maxSegmentBytes = 255
/** Control characters, halves of surrogate pairs, and the backslash that some systems take for a slash. */
const forbidden = /[\p{Cc}\p{Cs}\\]/u

/**
 * Why a display name is refused; undefined when it is fine. A name is a relative POSIX path in Unicode normal form C. It is
 * only ever shown: files are stored under names made from hashes.
 */
export function nameProblem(name: string): string | undefined {
  if (Buffer.byteLength(name) > maxNameBytes) return `longer than ${maxNameBytes} bytes`
  if (forbidden.test(name)) return 'it has a backslash or a control character'
  if (name.normalize('NFC') !== name) return 'not in Unicode normal form C'
  const segments = name.split('/')
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..'))
    return 'not a plain relative path'
  return segments.some((segment) => Buffer.byteLength(segment) > maxSegmentBytes) ? 'a part is too long' : undefined
}

/** The first name that is there twice when capitals are ignored; undefined when there is none. */
export function duplicateName(names: Iterable<string>): string | undefined {
  const seen = new Set<string>()
  for (const name of names) {
    const folded = name.toLowerCase()
    if (seen.has(folded)) return name
    seen.add(folded)
  }
  return undefined
}

/**
 * Checks the names that a caller gives.
 *
 * @throws MurmurateError `INVALID_REQUEST`
 */
export function checkNames(names: readonly string[]): void {
  for (const name of names) {
    const problem = nameProblem(name)
    if (problem !== undefined)
      throw new MurmurateError('INVALID_REQUEST', `File name ${JSON.stringify(name)}: ${problem}`)
  }
  const twice = duplicateName(names)
  if (twice !== undefined)
    throw new MurmurateError('INVALID_REQUEST', `File name ${JSON.stringify(twice)} is there twice`)
}
