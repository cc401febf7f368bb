-- Sliding-window log: admit n units if the last `window` microseconds hold at most limit - n, at this server's time.
-- KEYS    1 sorted set: member "time-sequence", score time
-- ARGV    1 limit  2 window (us)  3 n
local limit, window, n = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local newest = redis.call('ZRANGE', KEYS[1], -1, -1, 'WITHSCORES')
if newest[2] and tonumber(newest[2]) > now then now = tonumber(newest[2]) end  -- time does not step back

redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - window))
local used = redis.call('ZCARD', KEYS[1])
if used + n > limit then
  local k = used + n - limit - 1
  local leaves = tonumber(redis.call('ZRANGE', KEYS[1], k, k, 'WITHSCORES')[2])
  return {0, limit - used, leaves + window - now, now}
end

-- Two requests in one microsecond need two members: a set would keep one of them, and admit one too many later.
local stamp = string.format('%.0f', now)
local sequence = redis.call('ZCOUNT', KEYS[1], stamp, stamp)
for i = 1, n do
  redis.call('ZADD', KEYS[1], stamp, stamp .. '-' .. string.format('%.0f', sequence + i))
end
redis.call('PEXPIRE', KEYS[1], math.ceil(window / 1000) + 1000)
return {n, limit - used - n, 0, now}
