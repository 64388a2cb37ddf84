#!lua
-- Puts jobs: refused as a whole where the server is out of memory.
--
-- KEYS[1]: the namespace. ARGV: for each group of jobs with one queue, priority and delay:
-- queue, priority, delay in milliseconds, count, then the id and the message of each.
local namespace = KEYS[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = 1
while at <= #ARGV do
    local queue, priority, delay, count = ARGV[at], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
    at = at + 4
    local base = namespace .. ':' .. queue
    local ready = priority == '0' and base or base .. '.P' .. priority
    redis.call('SADD', namespace .. ':__queues__', queue)
    for first = at, at + 2 * count - 1, 1000 do
        local messages, places = {}, {}
        for each = first, math.min(first + 999, at + 2 * count - 1), 2 do
            messages[#messages + 1], messages[#messages + 2] = ARGV[each], ARGV[each + 1]
            if delay > 0 then
                -- One more for what the clock cut off: never early.
                places[#places + 1] = now + delay + 1
                places[#places + 1] = priority .. ':' .. ARGV[each]
            else
                places[#places + 1] = ARGV[each]
            end
        end
        redis.call('HSET', base .. '.msgs', unpack(messages))
        if delay > 0 then
            redis.call('ZADD', base .. '.delayed', unpack(places))
        else
            redis.call('RPUSH', ready, unpack(places))
        end
    end
    at = at + 2 * count
    if delay == 0 then
        redis.call('PUBLISH', namespace .. ':__pushed__', queue)
    end
end
