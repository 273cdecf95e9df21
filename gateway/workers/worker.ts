// The entry of a worker process (node:cluster starts it). What it does it is told by the primary: a signal
// to the whole group (Ctrl-C in a terminal, a supervisor that ends every process) is not for it to answer.

for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => {})

// All that takes time to load comes after the handlers.
const { obeyPrimary } = await import('./serving.ts')
obeyPrimary()
