// What Redis does by itself, in one step each. It cannot verify a value, so it decides by the numbers in
// front alone: a forged number makes a miss, never an answer.

/**
 * Keeps the newer of two values: the higher version, then the later `readAt`. Never deletes in order to write:
 * an older record that arrives late finds the newer one, or the tombstone, in its place.
 * KEYS: key. ARGV: value, version, readAt, lifetime in ms. Replies 1 where it wrote.
 */
export const keepNewerScript = `
local held = redis.pcall('GET', KEYS[1])
if type(held) == 'string' then
  local version, readAt = string.match(held, '^%d+ (%d+) (%d+) ')
  version, readAt = tonumber(version), tonumber(readAt)
  local newVersion, newReadAt = tonumber(ARGV[2]), tonumber(ARGV[3])
  if version and (version > newVersion or (version == newVersion and readAt >= newReadAt)) then
    return 0
  end
end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[4])
return 1
`

/** Deletes a value that did not verify, unless another has taken its place. KEYS: key. ARGV: value. */
export const dropScript = `
if redis.call('GETRANGE', KEYS[1], 0, #ARGV[1] - 1) == ARGV[1] then redis.call('DEL', KEYS[1]) end
return 0
`
