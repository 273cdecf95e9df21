// A push that is more work to inspect than the gateway does for one. It is no fault of the push: what could
// not be proved within the bounds counts as a forced update, with these words beside it.

export class BoundExceeded extends Error {
  constructor(words: string) {
    super(words)
    this.name = 'BoundExceeded'
  }
}
