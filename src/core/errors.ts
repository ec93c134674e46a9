/** What a user reads of an error: what happened in general, and what to do about it. */
export interface ErrorExplanation {
  /** What this code means, whatever the instance. */
  readonly what: string
  /** What the reader can do next. */
  readonly next: string
}

/**
 * Every error code of the library: stable, documented in `docs/errors.md` and tested against it both ways.
 * The message of an instance says what happened to what; the row here says what to do.
 */
export const errorTable = Object.freeze({
  ABORTED: {
    what: 'The operation was stopped by its signal before it ended.',
    next: 'Nothing is lost; call it again to resume.'
  },
  BLOB_NOT_FOUND: {
    what: 'No local file and no reachable peer has these bytes.',
    next: 'Start a node that holds the release, or publish it again from the original files.'
  },
  BLOB_CORRUPT: {
    what: 'Bytes do not match their content identifier.',
    next: 'They were discarded and never served; they are fetched again from another peer. If it recurs, check the disk.'
  },
  CONFLICT: {
    what: 'This model version already exists with other bytes.',
    next: 'A release never changes: publish the new bytes under a new version.'
  },
  DATA_DIR_IN_USE: {
    what: 'Another process runs on this data directory.',
    next: 'Stop the other process, or give this node a directory of its own.'
  },
  DATA_DIR_UNREADABLE: {
    what: 'The data directory cannot be read or written.',
    next: 'Check that the path is a directory that this user may read and write, on a disk that is mounted writable.'
  },
  FILE_CHANGED: {
    what: 'A file disappeared or changed while it was being published.',
    next: 'Nothing was published; wait until the file is complete, then publish again.'
  },
  FRAME_TOO_LARGE: {
    what: 'A peer announced a message larger than the protocol allows.',
    next: 'The stream was closed; check that all nodes run compatible versions.'
  },
  HOOK_FAILED: {
    what: 'A command run by the runtime failed or did not end in time.',
    next: 'Read its output in the details, mend the command, and start the rollout again.'
  },
  INSUFFICIENT_STORAGE: {
    what: 'The disk has too little free space.',
    next: 'Free the number of bytes named in the details; the transfer goes on by itself.'
  },
  INTERNAL: {
    what: 'Something happened that should not.',
    next: 'Please report it with the details and the log.'
  },
  INVALID_REQUEST: {
    what: 'An argument has a wrong form or value.',
    next: 'Correct the argument named in the message.'
  },
  KEY_UNREADABLE: {
    what: 'The node key file is damaged or cannot be read.',
    next: 'Restore it from a backup; or delete it to start as a new node with a new id.'
  },
  MALFORMED: {
    what: 'Bytes from a peer or a file do not have the form they should.',
    next: 'They were ignored. If they come from your own disk, restore it from a backup.'
  },
  MESH_EXISTS: {
    what: 'This data directory belongs to a mesh already.',
    next: 'Run it with "murmurate up", or take another data directory for another mesh.'
  },
  MESH_MISSING: {
    what: 'This data directory belongs to no mesh yet.',
    next: 'Make a new mesh with "murmurate init", or enter one with "murmurate join" and a ticket.'
  },
  MESH_UNREADABLE: {
    what: 'The file with the secret and the fleet of this node is damaged, cannot be read, or may be read by others.',
    next: 'Mend what the message names, restore mesh.json from a backup, or join again in another data directory.'
  },
  MODEL_NOT_FOUND: {
    what: 'No such model, version or variant is known here.',
    next: 'Publish it first, or wait until this node has met the others.'
  },
  NETWORK_ERROR: {
    what: 'A peer could not be reached, or hung up.',
    next: 'It is tried again by itself; check the cable, the firewall and that both sides have the same mesh secret.'
  },
  NODE_NOT_FOUND: {
    what: 'No member of the mesh has this id or prefix, or more than one has.',
    next: 'Give a full node id, or a longer prefix.'
  },
  NOT_PERMITTED: {
    what: 'The fleet root does not give this node the right to do this.',
    next: 'Ask a holder of the root key to give it the role, or do it from a node that has the role.'
  },
  NOT_STARTED: {
    what: 'The node is not running.',
    next: 'Call start() first, and no longer use it after stop().'
  },
  PORT_IN_USE: {
    what: 'Another program listens on this port.',
    next: 'Choose another port, or 0 to let the system choose.'
  },
  ROOT_REFUSED: {
    what: 'A fleet root is not one that the root before it allows.',
    next: 'The root before it stays in force. Have the new one signed by enough keys of both, or ask who sent it.'
  },
  ROOT_UNDELIVERED: {
    what: 'A new fleet root is signed, but no node of the mesh has taken it.',
    next: 'Nothing has changed. Start a node of the mesh or name one with --peer, or stop the node here; then do it again.'
  },
  ROOT_UNREADABLE: {
    what: 'The file with the fleet roots is damaged or cannot be read.',
    next: 'Delete record/root in the data directory: the node fetches the roots from its peers, checks them and goes on.'
  },
  RUNTIME_CHECK_FAILED: {
    what: 'The new version did not pass its check.',
    next: 'The previous version was restored; mend the model or the check and publish a new version.'
  },
  SECRET_MALFORMED: {
    what: 'The mesh secret does not have the form it should.',
    next: 'Copy it whole from a node of the mesh; it begins with "murmurate-secret-1:".'
  },
  TICKET_EXPIRED: {
    what: 'The invitation was not used within its lifetime, or was withdrawn.',
    next: 'Make a new one with "murmurate invite" on a node of the mesh.'
  },
  TICKET_MALFORMED: {
    what: 'The ticket does not have the form it should.',
    next: 'Copy it whole, as one line; it begins with "murmurate-ticket-1:".'
  },
  TICKET_UNANSWERED: {
    what: 'Nobody waits for this ticket where it leads to, or the way there is closed.',
    next: 'See on the inviting machine that "murmurate invite" still waits and that its port is open to this one; else ask for a new ticket.'
  },
  TICKET_USED: {
    what: 'The ticket has let a node in already, and lets in only one.',
    next: 'Ask for a new one.'
  },
  TIMEOUT: {
    what: 'The operation did not end in the time allowed.',
    next: 'Look at the blockers for the reason, or allow more time.'
  }
} satisfies Record<string, ErrorExplanation>)

/** A stable error code. */
export type ErrorCode = keyof typeof errorTable

/** Optional parts of an error. */
export interface MurmurateErrorOptions {
  /** Machine-readable facts: paths, ids, numbers. Never a secret. */
  readonly details?: Readonly<Record<string, unknown>>
  /** What went wrong underneath. */
  readonly cause?: unknown
}

/** The only class of error that the library throws on purpose. */
export class MurmurateError extends Error {
  override readonly name = 'MurmurateError'
  /** Stable code, see `docs/errors.md`. */
  readonly code: ErrorCode
  /** Machine-readable facts. */
  readonly details: Readonly<Record<string, unknown>>
  /** What the reader can do about it. */
  readonly next: string

  /**
   * Makes an error of a row of the table.
   *
   * @param code - a row of the table
   * @param message - what happened, to what, why
   * @param options - details and cause
   */
  constructor(code: ErrorCode, message: string, options: MurmurateErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options.details ?? {}
    this.next = errorTable[code].next
  }
}

/** The code of an error that the library threw, or undefined. */
export function errorCode(error: unknown): ErrorCode | undefined {
  return error instanceof MurmurateError ? error.code : undefined
}

/** The operating system's code (`ENOENT`, `EADDRINUSE`), if the error carries one. */
export function systemCode(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error)) return undefined
  return typeof error.code === 'string' ? error.code : undefined
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
