// Adds up what the steps of .ci/run left in a folder: NAME.exit, the exit code, and for tests NAME.json, vitest's report.
import { existsSync, readdirSync, readFileSync } from 'node:fs'

const folder = process.argv[2]
let passed = 0
let failed = 0
for (const name of readdirSync(folder)
  .filter((file) => file.endsWith('.exit'))
  .map((file) => file.slice(0, -5))) {
  const broken = Number(readFileSync(`${folder}/${name}.exit`, 'utf8')) === 0 ? 0 : 1
  const report = existsSync(`${folder}/${name}.json`)
    ? JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8'))
    : undefined
  const unloadable =
    report?.testResults.filter((file) => file.status === 'failed' && file.assertionResults.length === 0) ?? []
  passed += report?.numPassedTests ?? 0
  // A step that ended badly without a failed test (a type error, an unhandled rejection, no report) counts as one failure.
  failed += Math.max(broken, (report?.numFailedTests ?? 0) + unloadable.length)
  if (broken) console.log(`failed: ${name}`)
}
console.log(`${passed} passed, ${failed} failed`)
process.exitCode = failed === 0 ? 0 : 1
