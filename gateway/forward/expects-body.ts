/**
 * Methods whose requests servers take to have a body (RFC 9110 8.6, 9.3). Without a length some refuse them; of
 * another method a server may overlook the body and read it as a request.
 */
export const expectsBody: ReadonlySet<string> = new Set([
  'POST',
  'PUT',
  'PATCH',
  'PROPFIND',
  'PROPPATCH',
])
