-- Token bucket: take n tokens, or (partial = 1) as many of n as there are, at the time that this server says it is.
-- KEYS    1 bucket {credit, last}   2 when this server's state began (used only if a missing bucket starts "empty")
-- ARGV    1 token  2 earn  3 cap  4 n  5 partial  6 start
-- Credits are integers below 2^51, so every product and quotient here is exact in Lua's doubles.
local token, earn, cap = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local n, partial = tonumber(ARGV[4]), ARGV[5] == '1'

local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local state = redis.call('HMGET', KEYS[1], 'credit', 'last')
local credit, last = tonumber(state[1]), tonumber(state[2])
if not credit then
  credit, last = cap, now
  if ARGV[6] == 'empty' then
    local began = tonumber(redis.call('GET', KEYS[2]) or false)
    if not began then
      began = now
      redis.call('SET', KEYS[2], string.format('%.0f', now))
    end
    credit, last = 0, began
  end
end

if now < last then now = last end                       -- the server's clock stepped back: no time has passed
if now - last >= math.ceil((cap - credit) / earn) then  -- compared before multiplied: an old bucket must not overflow
  credit = cap
else
  credit = credit + (now - last) * earn
end

local granted = n
if credit < n * token then
  granted = partial and math.floor(credit / token) or 0
end
local wait = 0
if granted > 0 then
  credit = credit - granted * token
  -- '%.0f': the .. operator and tostring() would keep 14 digits of a 16-digit time
  redis.call('HSET', KEYS[1], 'credit', string.format('%.0f', credit), 'last', string.format('%.0f', now))
  redis.call('PEXPIRE', KEYS[1], math.ceil((cap - credit) / earn / 1000) + 1000)  -- full by then: nothing to remember
else
  wait = math.ceil(((partial and 1 or n) * token - credit) / earn)
end
return {granted, math.floor(credit / token), wait, now}
