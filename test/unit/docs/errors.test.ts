import { expect, test } from 'vitest'
import { errorTable } from '../../../src/core/errors.js'
import { readFolder, readText } from './documents.js'

const rows = new Map(
  Array.from(
    readText('docs/errors.md').matchAll(/^\| `([A-Z_]+)` \| (.*) \| (.*) \|$/gm),
    ([, code = '', what, next]) => [code, { what, next }]
  )
)

test('each code is in docs/errors.md with the text of the table, in the order of the alphabet', () => {
  expect(Object.fromEntries(rows)).toEqual(errorTable)
  expect([...rows.keys()]).toEqual([...rows.keys()].sort())
})

test('each code in the text of docs/errors.md exists', () => {
  const named = Array.from(readText('docs/errors.md').matchAll(/`([A-Z]+(?:_[A-Z]+)*)`/g), ([, code = '']) => code)
  expect(named.filter((code) => !(code in errorTable))).toEqual([])
})

test('each code is used somewhere', () => {
  const sources = [...readFolder('src')].filter(([file]) => file !== 'src/core/errors.ts').map(([, text]) => text)
  const unused = Object.keys(errorTable).filter((code) => !sources.some((text) => text.includes(`'${code}'`)))
  expect(unused).toEqual([])
})
