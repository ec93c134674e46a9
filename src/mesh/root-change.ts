import { MurmurateError } from '../core/errors.js'
import type { NodeId } from '../core/ids.js'
import type { FleetRoot, RootChanges, SignedRoot } from '../identity/fleet-root.js'

/** What a node can be in a root: one of the roles, a member, or (a key, not a node) one of those that sign roots. */
export type Place = 'operator' | 'publisher' | 'member' | 'root'

/** One wish of whoever holds root keys. */
export type RootWish =
  | { readonly type: 'add' | 'remove'; readonly id: NodeId; readonly place: Place }
  | { readonly type: 'revoke'; readonly id: NodeId }
  | { readonly type: 'threshold'; readonly threshold: number; readonly keys?: readonly NodeId[] }
  | { readonly type: 'releases'; readonly threshold: number }
  | { readonly type: 'members'; readonly members: 'open' | readonly NodeId[] }
  | { readonly type: 'replace'; readonly old: NodeId; readonly key: NodeId }

/** What is to be different; the rest stays. */
type Lists = Omit<RootChanges, 'issuedAt'>

const fields = { operator: 'operators', publisher: 'publishers', root: 'keys' } as const

/**
 * What wishes, one after the other, make of a root.
 *
 * @throws MurmurateError `INVALID_REQUEST` when a wish is granted already or cannot be
 */
export function changesOf(root: FleetRoot, wishes: readonly RootWish[]): Lists {
  let changed = root
  for (const wish of wishes) changed = { ...changed, ...changeOf(changed, wish) }
  const { version: _, issuedAt: __, expires: ___, ...lists } = changed
  return lists
}

function changeOf(root: FleetRoot, wish: RootWish): Lists {
  switch (wish.type) {
    case 'add':
      return added(root, wish.id, wish.place)
    case 'remove':
      return removed(root, wish.id, wish.place)
    case 'revoke':
      return revoked(root, wish.id)
    case 'threshold':
      return { threshold: wish.threshold, keys: wish.keys ?? root.keys }
    case 'releases':
      return releaseThreshold(root, wish.threshold)
    case 'members':
      return { members: wish.members }
    case 'replace':
      return { keys: [...without(root.keys, wish.old), wish.key] }
  }
}

/** Whoever is given a place again is revoked no longer. */
function added(root: FleetRoot, id: NodeId, place: Place): Lists {
  const back = { revoked: without(root.revoked, id) }
  if (place === 'member') return addedMember(root, id, back)
  const list = root[fields[place]]
  if (list.includes(id) && back.revoked.length === root.revoked.length) throw noChange(`${id} is ${place} already`)
  return { ...back, [fields[place]]: [...without(list, id), id] }
}

function addedMember({ members, revoked: out }: FleetRoot, id: NodeId, back: Pick<FleetRoot, 'revoked'>): Lists {
  const isBack = back.revoked.length < out.length
  if (members === 'open' && isBack) return back
  if (members === 'open') throw noChange('The members are open: whoever is invited is one')
  if (members.includes(id) && !isBack) throw noChange(`${id} is a member already`)
  return { ...back, members: [...without(members, id), id] }
}

function removed(root: FleetRoot, id: NodeId, place: Place): Lists {
  if (place === 'member') return removedMember(root, id)
  const list = root[fields[place]]
  if (!list.includes(id)) throw noChange(`${id} is no ${place}`)
  return { [fields[place]]: without(list, id) }
}

function removedMember({ members, operators, publishers }: FleetRoot, id: NodeId): Lists {
  if (members === 'open') throw noChange('The members are open: to put a node out, revoke it')
  if (![members, operators, publishers].some((list) => list.includes(id))) throw noChange(`${id} is no member`)
  // Who has a role is a member: without the roles it would stay one.
  return { members: without(members, id), operators: without(operators, id), publishers: without(publishers, id) }
}

function revoked(root: FleetRoot, id: NodeId): Lists {
  if (root.revoked.includes(id)) throw noChange(`${id} is revoked already`)
  const { members, operators, publishers } = root
  return {
    revoked: [...root.revoked, id],
    operators: without(operators, id),
    publishers: without(publishers, id),
    members: members === 'open' ? members : without(members, id)
  }
}

function releaseThreshold({ publishers }: FleetRoot, threshold: number): Lists {
  if (threshold <= publishers.length) return { releaseThreshold: threshold }
  throw noChange(`${threshold} publishers cannot sign a release: there are ${publishers.length}`)
}

function without(list: readonly NodeId[], id: NodeId): NodeId[] {
  return list.filter((each) => each !== id)
}

function noChange(message: string): MurmurateError {
  return new MurmurateError('INVALID_REQUEST', message)
}

/** Keys that may still sign a draft: of each root whose threshold is not reached, those that have not signed. */
export function missingSigners(current: FleetRoot, draft: SignedRoot): readonly NodeId[] {
  const signed = new Set(draft.signatures.map(({ key }) => key))
  const missing = [current, draft.root].flatMap(({ keys, threshold }) =>
    keys.filter((key) => signed.has(key)).length >= threshold ? [] : keys.filter((key) => !signed.has(key))
  )
  return [...new Set(missing)].sort()
}

/** What the next root changes, one line each, for people. */
export function describeChanges(current: FleetRoot, next: FleetRoot): string[] {
  const lists = ['keys', 'operators', 'publishers', 'revoked'] as const
  const numbers = ['threshold', 'releaseThreshold'] as const
  const lines = [
    ...lists.flatMap((name) => differences(name, current[name], next[name])),
    ...numbers.flatMap((name) =>
      current[name] === next[name] ? [] : [`${name}: ${current[name]} becomes ${next[name]}`]
    )
  ]
  if (current.members !== 'open' && next.members !== 'open') {
    return [...lines, ...differences('members', current.members, next.members)]
  }
  return current.members === next.members
    ? lines
    : [...lines, `members: ${membersText(current)} becomes ${membersText(next)}`]
}

function membersText({ members }: FleetRoot): string {
  return members === 'open' ? 'open' : `a list of ${members.length}`
}

function differences(name: string, before: readonly NodeId[], after: readonly NodeId[]): string[] {
  return [
    ...after.filter((id) => !before.includes(id)).map((id) => `${name}: + ${id}`),
    ...before.filter((id) => !after.includes(id)).map((id) => `${name}: - ${id}`)
  ]
}
