// Every client of a registry, asked for the token as a password (`challenge: basic`, the default).

import { tryClients } from './registry-clients-trials.ts'

await tryClients('basic')
