import type { Command } from 'commander'
import { Argument } from 'commander'
import type { NodeId } from '../core/ids.js'
import type { Place, RootWish } from '../index.js'
import type { ChangeOptions } from './keys.js'
import { choiceOption, parseCount, parseId, parseIds, UsageError, withData, withReach } from './options.js'
import type { CommonOptions, ReachOptions } from './options.js'

const places: readonly Place[] = ['operator', 'publisher', 'member', 'root']
const allOf = 'the whole new list, instead of the present one'

/** Adds `murmurate keys ...`; the code behind each command is loaded when it runs. */
export function addKeysCommands(program: Command): void {
  const keys = program.command('keys').description('see and change who may do what: the fleet root')
  withData(keys.command('list').description('show the root')).action(async (options: CommonOptions) =>
    (await import('./keys.js')).list(options)
  )
  withData(keys.command('create').description('make a root key here, for a holder of one to add')).action(
    async (options: CommonOptions) => (await import('./keys.js')).create(options)
  )
  addLists(keys)
  addThresholds(keys)
  changing(keys.command('rotate').description('replace the root key here by a new one')).action(
    async (options: ChangeOptions) => (await import('./keys.js')).rotate(options)
  )
  withData(keys.command('sign').description('sign a draft with the root key here'))
    .argument('<file>', 'the draft; the signature goes into it')
    .action(async (file: string, options: CommonOptions) => (await import('./keys.js')).sign(file, options))
  withReach(keys.command('apply').description('put a draft in force that has its signatures'))
    .argument('<file>', 'the draft')
    .action(async (file: string, options: ReachOptions) => (await import('./keys.js')).apply(file, options))
}

function addLists(keys: Command): void {
  for (const type of ['add', 'remove'] as const) {
    const what = type === 'add' ? 'give a node a role (and take it off the revoked)' : 'take a role from a node'
    changing(keys.command(type).description(`${what}, or do so to a root key`))
      .argument('<id>', 'node id, or id of a root key', parseId)
      .addOption(choiceOption('--role <role>', 'what it is', places).makeOptionMandatory())
      .action((id: NodeId, options: ChangeOptions & { role: Place }) =>
        change({ type, id, place: options.role }, options)
      )
  }
  changing(keys.command('revoke').description('put a node out: it gets no link, and what it wrote no longer counts'))
    .argument('<id>', 'node id', parseId)
    .action((id: NodeId, options: ChangeOptions) => change({ type: 'revoke', id }, options))
  changing(keys.command('members').description('let in whoever is invited, or only those on a list'))
    .addArgument(new Argument('<who>').choices(['open', 'list']))
    .option('--of <id...>', allOf, parseIds)
    .action((who: 'open' | 'list', options: ChangeOptions & { of?: readonly NodeId[] }) => {
      if ((who === 'list') !== (options.of !== undefined))
        throw new UsageError('error: "members list" needs --of with the node ids; "members open" takes none')
      return change({ type: 'members', members: options.of ?? 'open' }, options)
    })
}

function addThresholds(keys: Command): void {
  changing(keys.command('threshold').description('how many root keys sign a root'))
    .argument('<number>', 'at least 1', parseCount)
    .option('--of <id...>', allOf, parseIds)
    .action((threshold: number, options: ChangeOptions & { of?: readonly NodeId[] }) =>
      change({ type: 'threshold', threshold, ...(options.of === undefined ? {} : { keys: options.of }) }, options)
    )
  changing(keys.command('releases').description('how many publishers sign a release'))
    .argument('<number>', 'at least 1', parseCount)
    .action((threshold: number, options: ChangeOptions) => change({ type: 'releases', threshold }, options))
}

function changing(command: Command): Command {
  return withReach(command).option('--out <file>', 'write a draft for others to sign, and put nothing in force')
}

async function change(wish: RootWish, options: ChangeOptions): Promise<void> {
  return (await import('./keys.js')).change(wish, options)
}
