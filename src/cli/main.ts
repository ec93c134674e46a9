#!/usr/bin/env node
import '../core/polyfill.js'
import { Command, Option } from 'commander'
import { MurmurateError, messageOf } from '../core/errors.js'
import { version } from '../version.js'
import type { InitOptions } from './init.js'
import type { InviteOptions } from './invite.js'
import type { JoinOptions } from './join.js'
import { addKeysCommands } from './keys-commands.js'
import {
  choiceOption,
  parseLifetime,
  parsePort,
  parsePublications,
  UsageError,
  withData,
  withReach,
  type CommonOptions
} from './options.js'
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
  addDemo(root)
  addInit(root)
  addInvite(root)
  addJoin(root)
  addUp(root)
  addKeysCommands(root)
  root
    .command('secret')
    .description('print a new mesh secret, for a mesh without roles; "murmurate init" makes one with them')
    .action(async () => {
      const { createMeshSecret } = await import('../index.js')
      console.log(createMeshSecret())
    })
  return root
}

function addDemo(root: Command): void {
  root
    .command('demo')
    .description('start five nodes on this machine and watch them deliver, update and restore a model')
    .option('--json', 'print one JSON object as the last line')
    .option('--keep', 'leave the nodes running until Ctrl-C')
    .action(async (options: { json?: boolean; keep?: boolean }) => {
      const { demo } = await import('./demo.js')
      process.exitCode = await demo({ json: options.json === true, keep: options.keep === true })
    })
}

function addInit(root: Command): void {
  withData(root.command('init').description('found a mesh: keys, secret, and who may do what'))
    .option('--name <name>', 'name for people')
    .addOption(new Option('--open', 'whoever is invited is a member (default)').conflicts('membersList'))
    .option('--members-list', 'only nodes that a root key puts on a list are members')
    .action(async ({ membersList, ...options }: CommonOptions & { name?: string; membersList?: boolean }) => {
      const { init } = await import('./init.js')
      const given: InitOptions = { ...options, members: membersList === true ? 'list' : 'open' }
      await init(given)
    })
}

function addInvite(root: Command): void {
  withReach(root.command('invite').description('print a ticket that lets in one node, and wait for it'))
    .option('--lifetime <time>', 'how long to wait', parseLifetime, parseLifetime('10m'))
    .addOption(choiceOption('--role <role...>', 'what the newcomer may do beside', ['operator', 'publisher']))
    .option('--port <port>', 'TCP port to wait on, 0: a free one', parsePort, 0)
    .option('--address <host...>', 'addresses of this machine that the other can reach')
    .action(async (options: InviteOptions) => {
      const { invite } = await import('./invite.js')
      process.exitCode = await invite(options)
    })
}

function addJoin(root: Command): void {
  withData(root.command('join').description('use a ticket: make a data directory one of the mesh'))
    .argument('<ticket>', 'the line that "murmurate invite" printed; - reads it from the standard input')
    .option('--name <name>', 'name for people')
    .action(async (ticket: string, options: JoinOptions) => {
      const { join } = await import('./join.js')
      await join(ticket, options)
    })
}

function addUp(root: Command): void {
  root
    .command('up')
    .description('run a node until Ctrl-C')
    .requiredOption('--data-dir <path>', 'directory of this node alone: key, document, models')
    .option('--secret-file <path>', 'file with the mesh secret, where neither "init" nor "join" made the directory')
    .option('--name <name>', 'name for people')
    .option('--listen <multiaddr...>', 'where to listen')
    .option('--peer <multiaddr...>', 'peers to dial where multicast is off')
    .option('--no-discovery', 'do not look for peers by mDNS')
    .option(
      '--publish <model@version=file...>',
      'publish files, each as a version with one variant, and roll it out to all',
      parsePublications
    )
    .action(async (options: UpOptions) => {
      const { up } = await import('./up.js')
      await up(options)
    })
}

/** Says what happened, to what, why, and what next. */
function explain(error: unknown): string {
  if (!(error instanceof MurmurateError)) return `error: ${messageOf(error)}`
  const cause = error.cause === undefined ? '' : ` (${messageOf(error.cause)})`
  return `error ${error.code}: ${error.message}${cause}\n${error.next}`
}

/** The same for programs. */
function asJson(error: unknown): string {
  const { code, next } = error instanceof MurmurateError ? error : { code: 'INTERNAL', next: '' }
  return JSON.stringify({ error: { code, message: messageOf(error), next } })
}

try {
  await program().parseAsync()
} catch (error) {
  if (process.argv.includes('--json')) console.log(asJson(error))
  console.error(error instanceof UsageError ? error.message : explain(error))
  process.exitCode = error instanceof UsageError ? usage : failed
}
