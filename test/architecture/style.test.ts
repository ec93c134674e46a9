import { expect, test } from 'vitest'
import { readSources } from './sources.js'

const sources = [...readSources()]
const withoutComments = (text: string): string => text.replace(/\/\*[^]*?\*\/|(?<!:)\/\/.*/g, '')

test('time and chance come from core/environment alone', () => {
  const guilty = sources.filter(
    ([file, text]) =>
      file !== 'core/environment.ts' && /\b(Date\.now|performance\.now|Math\.random)\(/.test(withoutComments(text))
  )
  expect(guilty.map(([file]) => file)).toEqual([])
})

test('no source file is longer than 320 lines', () => {
  const long = sources
    .map(([file, text]) => [file, text.split('\n').length] as const)
    .filter(([, lines]) => lines > 320)
  expect(long).toEqual([])
})
