// Every client of a registry, asked for the token as a password (`challenge: basic`, the default).

import { startPlace } from './registry-clients-place.ts'
import { tryClients } from './registry-clients-trials.ts'

tryClients(await startPlace('basic'))
