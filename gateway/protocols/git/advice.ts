// What somebody whose request was denied can do next, in a few words. Pure. It names what the route
// demands, never what other tokens hold.

import type { Denial } from '../../decision/access.ts'

/** What to do next, without a full stop. */
export function adviseDenied(denial: Denial): string {
  const { requirement, action } = denial.access
  switch (denial.reason) {
    case 'address_not_allowed':
      return 'come from an address that the token allows'
    case 'resource_not_allowed':
      return `use a token whose resources allow this ${denial.resource?.key ?? 'resource'}`
    case 'insufficient_scope': {
      if (requirement === undefined) return `no token will do: the route does not list ${action}`
      if (denial.required.length === 0) return 'use a token that has a scope'
      const word = requirement.kind === 'all' ? ' and ' : ' or '
      return `use a token that has ${denial.required.join(word)}`
    }
  }
}
