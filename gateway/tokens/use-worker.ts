// The thread that writes last uses to the SQLite authority, on a connection of its own.

import { DatabaseSync } from 'node:sqlite'
import { parentPort, workerData } from 'node:worker_threads'
import { bind, sql } from './statements.ts'
import type { UseOrder, UseReport, UseWorkerData } from './use-thread.ts'

const { file, busyMs } = workerData as UseWorkerData
const database = new DatabaseSync(file, { timeout: busyMs })
// A use that a power cut takes back is no loss, and the commit does not wait for the disk. What others commit
// is as safe as they ask for: WAL takes the setting of the connection that commits.
database.exec('PRAGMA synchronous = NORMAL')
const recordUse = database.prepare(sql.recordUse)

parentPort?.on('message', (order: UseOrder) => {
  if (order === 'close') {
    database.close()
    parentPort?.close()
    return
  }
  parentPort?.postMessage(write(order) satisfies UseReport)
})

function write(uses: Exclude<UseOrder, 'close'>): UseReport {
  try {
    database.exec('BEGIN IMMEDIATE')
    for (const { tokenId, at, address, protocol } of uses) {
      recordUse.run(bind([tokenId, at, address, protocol]))
    }
    database.exec('COMMIT')
    return { failure: undefined }
  } catch (error) {
    if (database.isTransaction) database.exec('ROLLBACK')
    return { failure: (error as Error).message }
  }
}
