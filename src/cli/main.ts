#!/usr/bin/env node
import '../core/polyfill.js'
import { Command } from 'commander'
import { MurmurateError, messageOf } from '../core/errors.js'
import { version } from '../version.js'
import type { UpOptions } from './up.js'

/** Exit codes: 0 done, 1 failed, 2 wrong usage. */
const failed = 1
const usage = 2

/** The program; each command loads its own code only when it runs. */
function program(): Command {
  const root = new Command('murmurate')
    .description('Keeps a fleet of machines running the right version of their ML models, with no server.')
    .version(version)
    .exitOverride((error) => process.exit(error.exitCode === 0 ? 0 : usage))
  root
    .command('demo')
    .description('start five nodes on this machine and watch them deliver, update and restore a model')
    .option('--json', 'print one JSON object as the last line')
    .option('--keep', 'leave the nodes running until Ctrl-C')
    .action(async (options: { json?: boolean; keep?: boolean }) => {
      const { demo } = await import('./demo.js')
      process.exitCode = await demo({ json: options.json === true, keep: options.keep === true })
    })
  root
    .command('secret')
    .description('print a new mesh secret; give it to every node of the mesh')
    .action(async () => {
      const { createMeshSecret } = await import('../index.js')
      console.log(createMeshSecret())
    })
  root
    .command('up')
    .description('run a node until Ctrl-C')
    .requiredOption('--data-dir <path>', 'directory of this node alone: key, document, models')
    .requiredOption('--secret-file <path>', 'file with the mesh secret, see "murmurate secret"')
    .option('--name <name>', 'name for people')
    .option('--listen <multiaddr...>', 'where to listen')
    .option('--peer <multiaddr...>', 'peers to dial where multicast is off')
    .option('--no-discovery', 'do not look for peers by mDNS')
    .option(
      '--publish <model@version=file...>',
      'publish files, each as a version with one variant, and roll it out to all'
    )
    .action(async (options: UpOptions) => {
      const { up } = await import('./up.js')
      await up(options)
    })
  return root
}

/** Says what happened, to what, why, and what next. */
function explain(error: unknown): string {
  if (!(error instanceof MurmurateError)) return `error: ${messageOf(error)}`
  const cause = error.cause === undefined ? '' : ` (${messageOf(error.cause)})`
  return `error ${error.code}: ${error.message}${cause}\n${error.next}`
}

try {
  await program().parseAsync()
} catch (error) {
  console.error(explain(error))
  process.exitCode = failed
}
