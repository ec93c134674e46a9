import { InvalidArgumentError, Option, type Command } from 'commander'
import { messageOf } from '../core/errors.js'
import { parseNodeId, type NodeId } from '../core/ids.js'

/** A mistake in how a command was called that no parser of a single option can see: the exit code is 2. */
export class UsageError extends Error {}

/** Options of every command that works on a data directory. */
export interface CommonOptions {
  readonly dataDir: string
  /** Print one JSON object on stdout. */
  readonly json?: boolean
}

/** Options of every command that looks for nodes of the mesh. */
export interface ReachOptions extends CommonOptions {
  readonly peer?: readonly string[]
  readonly discovery: boolean
}

const durationUnits: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }
/** An invitation that is open for longer than a week was forgotten. */
const maxLifetimeMs = 7 * 86_400_000
const maxPort = 65_535

/** `90s`, `10m`, `2h`, `1d` in ms. */
export function parseLifetime(text: string): number {
  const [, count = '', unit = ''] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  const lifetimeMs = Number(count) * (durationUnits[unit] ?? 0)
  if (lifetimeMs > 0 && lifetimeMs <= maxLifetimeMs) return lifetimeMs
  throw new InvalidArgumentError('Expected a number and s, m, h or d, such as 10m, and at most 7d.')
}

/** A TCP port; 0 for a free one. */
export function parsePort(text: string): number {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : Infinity
  if (port <= maxPort) return port
  throw new InvalidArgumentError(`Expected a port from 0 to ${maxPort}.`)
}

/** How many must sign. */
export function parseCount(text: string): number {
  if (/^[1-9]\d{0,3}$/.test(text)) return Number(text)
  throw new InvalidArgumentError('Expected a number of at least 1.')
}

/** A full node id. */
export function parseId(text: string): NodeId {
  try {
    return parseNodeId(text)
  } catch (error) {
    throw new InvalidArgumentError(messageOf(error))
  }
}

/** Several full node ids, for an option that can be repeated. */
export function parseIds(text: string, before: readonly NodeId[] = []): readonly NodeId[] {
  return [...before, parseId(text)]
}

/** A file to publish, as which version of which model. */
export interface Publication {
  readonly model: string
  readonly version: string
  readonly path: string
}

/** `model@version=file`, for an option that can be repeated. */
export function parsePublications(text: string, before: readonly Publication[] = []): readonly Publication[] {
  const [, model, version, path] = /^([^@=]+)@([^=]+)=(.+)$/.exec(text) ?? []
  if (model !== undefined && version !== undefined && path !== undefined) return [...before, { model, version, path }]
  throw new InvalidArgumentError('Expected the form model@version=file.')
}

/** Adds the options of every command that works on a data directory. */
export function withData(command: Command): Command {
  return command
    .requiredOption('--data-dir <path>', 'directory of this node')
    .option('--json', 'print one JSON object a line')
}

/** Adds the options of every command that looks for nodes of the mesh. */
export function withReach(command: Command): Command {
  return withData(command)
    .option('--peer <multiaddr...>', 'nodes to dial where multicast is off')
    .option('--no-discovery', 'do not look for nodes by mDNS')
}

/** An option that takes some of these words. */
export function choiceOption(flags: string, description: string, words: readonly string[]): Option {
  return new Option(flags, description).choices(words)
}

/** Prints one object for programs, or lines for people. */
export function print(json: boolean | undefined, value: object, lines: readonly string[]): void {
  console.log(json === true ? JSON.stringify(value) : lines.join('\n'))
}
