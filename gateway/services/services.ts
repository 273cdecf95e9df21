// The built-in services by name.

import type { ServiceName } from '../routes/route.ts'
import { registryToken } from './registry-token/registry-token.ts'
import type { Service } from './service.ts'

export const services: Readonly<Record<ServiceName, Service>> = {
  'registry-token': registryToken,
}
