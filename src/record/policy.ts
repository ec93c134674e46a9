import type { z } from 'zod'
import { MurmurateError } from '../core/errors.js'
import type { NodeId, PageId } from '../core/ids.js'
import { openAuthority, type Authority, type Role } from '../identity/authority.js'

/**
 * A kind of page: what its entries look like and who may write them. The room that owns a kind defines it and
 * registers it with the shared document when the node is built; this room knows none of them.
 */
export interface PageKind<Body = unknown> {
  /** First segment of the page id: `node`, `release`, `rollout`, `status`. */
  readonly name: string
  /** The form of a body. */
  readonly schema: z.ZodType<Body>
  /** Whether a page of this kind may exist. */
  readonly isPage: (page: PageId) => boolean
  /** The role that a writer must have. @default none: every member writes */
  readonly role?: Role
  /** Whether this member may have an entry with this body on this page, its role aside. */
  readonly mayWrite: (page: PageId, writer: NodeId, body: Body) => boolean
  /**
   * On how many pages of this kind one writer may have an entry. When there are more, those whose client ids are the highest
   * leave, the same ones on every node: so a member can make the document no larger than this.
   */
  readonly maxPagesPerWriter: number
  /** Only the first value of a writer (seq 0) may exist: a second write is `CONFLICT`, or nothing when it says the same. */
  readonly immutable?: true
}

/** Which kind of page an id names, and who may write it. */
export class Policy {
  readonly #kinds = new Map<string, PageKind>()
  readonly #authority: Authority

  constructor(authority: Authority = openAuthority) {
    this.#authority = authority
  }

  /** Makes a kind known. Each name belongs to one room: a second kind of the same name is a mistake in the program. */
  register(kind: PageKind): void {
    const other = this.#kinds.get(kind.name)
    if (other !== undefined && other !== kind) {
      throw new MurmurateError('INTERNAL', `Two rooms have registered pages of the kind ${kind.name}`)
    }
    this.#kinds.set(kind.name, kind)
  }

  /** Whether the fleet root lets this node write pages of this kind. */
  permits(kind: Pick<PageKind, 'role'>, writer: NodeId): boolean {
    return this.#authority.isMember(writer) && (kind.role === undefined || this.#authority.hasRole(writer, kind.role))
  }

  /** @throws MurmurateError `NOT_PERMITTED` */
  assertPermits(kind: Pick<PageKind, 'role'>, page: PageId, writer: NodeId): void {
    if (this.permits(kind, writer)) return
    const role = kind.role ?? 'member'
    const message = `The fleet root does not let ${writer} write ${page}: it is no ${role}`
    throw new MurmurateError('NOT_PERMITTED', message, { details: { page, nodeId: writer, role } })
  }

  /** The kind of an existing or possible page; undefined for kinds that no room has registered. */
  kindOf(page: PageId): PageKind | undefined {
    const kind = this.#kinds.get(page.slice(0, page.indexOf('/')))
    return kind?.isPage(page) === true ? kind : undefined
  }
}
