// How a command ends when it does not do what it was asked.

/** 1: failed or denied; 2: usage; 78: bad configuration (EX_CONFIG of sysexits.h). */
export type FailureCode = 1 | 2 | 78

/** Ends a command. The message goes to stderr; an empty one: everything has been said already. */
export class CommandFailure extends Error {
  readonly exitCode: FailureCode

  constructor(exitCode: FailureCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause })
    this.name = 'CommandFailure'
    this.exitCode = exitCode
  }
}
