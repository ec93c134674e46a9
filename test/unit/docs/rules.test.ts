import { expect, test } from 'vitest'
import { readFolder, readText } from './documents.js'

const rule = /(?:ID|REC|NET|BLOB|ROLL|FLEET|MODEL|ROOT|SIM|TICKET|CLI)-\d+/g
const rules = Array.from(readText('docs/rules.md').matchAll(/^- \*\*([A-Z]+-\d+)\*\* /gm), ([, id = '']) => id)

/** Rule ids in the titles of tests: `test('[REC-3] ...')`, `test.each(...)('[REC-3] ...')`. */
function cited(): Map<string, string[]> {
  const found = new Map<string, string[]>()
  for (const [file, text] of readFolder('test')) {
    for (const [title] of text.matchAll(/\(\s*['"`](?:\[[A-Z]+-\d+\] ?)+/g)) {
      for (const [id] of title.matchAll(rule)) found.set(id, [...(found.get(id) ?? []), file])
    }
  }
  return found
}

test('each rule has one number, and each number one rule', () => {
  expect(rules.length).toBeGreaterThan(20)
  expect(rules).toEqual([...new Set(rules)])
})

test('each rule of docs/rules.md is in the title of a test', () => {
  const titles = cited()
  expect(rules.filter((id) => !titles.has(id))).toEqual([])
})

test('each rule in the title of a test is in docs/rules.md', () => {
  const unknown = [...cited()].filter(([id]) => !rules.includes(id))
  expect(unknown).toEqual([])
})
