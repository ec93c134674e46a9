import { stat } from 'node:fs/promises'
import { join } from 'node:path'
import { systemCode } from '../core/errors.js'
import { parseCid, type Cid } from '../core/ids.js'

/** Where the pieces of a file lie. */
export interface FilePaths {
  /** The data, while it is a part. */
  readonly part: string
  /** Which chunks of the part are there; beside a complete file: which have not rotted. */
  readonly journal: string
  /** Notes of chunks that were written but not yet synced. */
  readonly recent: string
  /** The data, once it is complete. */
  readonly file: string
}

const partEnding = '.part'
const journalEnding = '.held'
const recentEnding = '.recent'
const draftEnding = '.draft'

/** The names of everything in the directory of a store; see `fs-blob-store.ts` for what they mean. */
export class FsLayout {
  readonly root: string
  readonly blocks: string
  readonly roots: string
  readonly files: string
  readonly parts: string

  constructor(directory: string) {
    this.root = directory
    this.blocks = join(directory, 'blocks')
    this.roots = join(directory, 'roots')
    this.files = join(directory, 'files')
    this.parts = join(directory, 'parts')
  }

  /** Where a file lies; the name is the CID, which has no character that a file system could take amiss. */
  pathsOf(file: Cid): FilePaths {
    return {
      part: join(this.parts, file + partEnding),
      journal: join(this.parts, file + journalEnding),
      recent: join(this.parts, file + recentEnding),
      file: join(this.files, file)
    }
  }

  /** Where a draft lies. */
  draft(random: Uint8Array): string {
    return join(this.parts, Buffer.from(random).toString('hex') + draftEnding)
  }

  /** Sorts the names found in `parts/`. */
  sortParts(names: readonly string[]): { readonly drafts: readonly string[]; readonly parts: readonly Cid[] } {
    const drafts = names.filter((name) => name.endsWith(draftEnding)).map((name) => join(this.parts, name))
    const stems = names.flatMap((name) =>
      [partEnding, journalEnding, recentEnding].flatMap((ending) =>
        name.endsWith(ending) ? [name.slice(0, -ending.length)] : []
      )
    )
    return { drafts, parts: cidsIn(new Set(stems)) }
  }
}

/** Those names that are CIDs. */
export function cidsIn(names: Iterable<string>): readonly Cid[] {
  return [...names].flatMap((name) => {
    try {
      return [parseCid(name)]
    } catch {
      return []
    }
  })
}

/** Bytes of a file; undefined when it is not there. */
export async function sizeOf(path: string): Promise<number | undefined> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined
    throw error
  }
}
