import type { HealthMonitor } from './health-monitor.js'
import type { Membership } from './membership.js'
import type { Pulses } from './pulse.js'

/** The nodes of a mesh, as one of them sees it. */
export type Fleet = Pick<
  Membership,
  'members' | 'get' | 'resolve' | 'waitFor' | 'onChange' | 'self' | 'expired' | 'forget'
> &
  Pick<HealthMonitor, 'health'> &
  Pick<Pulses, 'watchLoad' | 'loads'>

/** The face of this room. */
export function fleetOf(membership: Membership, health: HealthMonitor, pulses: Pulses): Fleet {
  return {
    get self() {
      return membership.self
    },
    members: () => membership.members(),
    get: (nodeId) => membership.get(nodeId),
    resolve: (text) => membership.resolve(text),
    waitFor: (count, options) => membership.waitFor(count, options),
    onChange: (listener) => membership.onChange(listener),
    expired: () => membership.expired(),
    forget: (nodeIdOrPrefix, options) => membership.forget(nodeIdOrPrefix, options),
    health: () => health.health(),
    watchLoad: (listener) => pulses.watchLoad(listener),
    loads: () => pulses.loads()
  }
}
