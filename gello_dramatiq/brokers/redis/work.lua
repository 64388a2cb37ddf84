#!lua flags=allow-oom
-- What workers do: it frees memory, so it is allowed where the server has none left.
--
-- KEYS[1]: the namespace. ARGV[1]: what to do; the rest is told at each.
--
--   namespace:queue               LIST of ids that are ready, of priority 0: Dramatiq's own
--   namespace:queue.msgs          HASH of id to message: Dramatiq's own
--   namespace:queue.P1 … .P5      LISTs of ids that are ready, of a higher priority
--   namespace:queue.delayed       ZSET of "priority:id" by the millisecond at which it is due
--   namespace:queue.held.owner    HASH of id to "lease:priority", with "*" behind it once the job's start is marked
--   namespace:queue.DQ, .XQ       Dramatiq's delayed and dead messages, each with its own .msgs
--   namespace:queue.fates         HASH of id to "deaths:suspect", for jobs whose worker was lost, or to "dead"
--   namespace:__queues__          SET of queues
--   namespace:__workers__         HASH of worker to beat; -1 is dead
--   namespace:__buried__          HASH of dead worker to when it was buried
--   namespace:__owners__          SET of those who may hold jobs
--   namespace:__lease__           counter
local namespace, command = KEYS[1], ARGV[1]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local PROMOTE, CHUNK = 1000, 1000

local function base(queue)
    return namespace .. ':' .. queue
end

local function ready(queue, priority)
    return tonumber(priority) > 0 and base(queue) .. '.P' .. priority or base(queue)
end

local function held(queue, owner)
    return base(queue) .. '.held.' .. owner
end

local function place(queue, id, priority, delay)
    if delay > 0 then
        redis.call('ZADD', base(queue) .. '.delayed', now + delay + 1, priority .. ':' .. id)
    else
        redis.call('RPUSH', ready(queue, priority), id)
    end
end

-- The priority of a job that is still theirs; nil of one that isn't.
local function still(known, lease)
    local found, priority = (known or ''):match('^(%d+):(%d)')
    return found == lease and priority or nil
end

-- Whoever still holds something must stay known: nobody would free it.
local function forget(owner)
    redis.call('HDEL', namespace .. ':__workers__', owner)
    for _, queue in ipairs(redis.call('SMEMBERS', namespace .. ':__queues__')) do
        if redis.call('EXISTS', held(queue, owner)) == 1 then
            return
        end
    end
    redis.call('SREM', namespace .. ':__owners__', owner)
end

-- Stock producers say a delay by an eta, on a queue of their own.
local function take_over(queue)
    local foreign = base(queue) .. '.DQ'
    for _ = 1, PROMOTE do
        local id = redis.call('LPOP', foreign)
        if not id then
            return
        end
        local message = redis.call('HGET', foreign .. '.msgs', id)
        if message then
            redis.call('HDEL', foreign .. '.msgs', id)
            redis.call('HSET', base(queue) .. '.msgs', id, message)
            local read, fields = pcall(cjson.decode, message)
            local eta = read and type(fields) == 'table' and type(fields.options) == 'table' and fields.options.eta
            place(queue, id, '0', type(eta) == 'number' and math.max(eta - now, 0) or 0)
        end
    end
end

local function promote(queue)
    local delayed = base(queue) .. '.delayed'
    local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, PROMOTE)
    for _, member in ipairs(due) do
        redis.call('ZREM', delayed, member)
        redis.call('RPUSH', ready(queue, member:sub(1, 1)), member:sub(3))
    end
end

-- ARGV: …, done, queue, owner, lease, count, ids | back, queue, owner, lease, id
--       | put, queue, owner, lease, id, delay, message. Returns how many were not theirs any more, and where it ended.
local function settle(at)
    local stale = 0
    while ARGV[at] == 'done' or ARGV[at] == 'back' or ARGV[at] == 'put' do
        local what, queue, owner, lease = ARGV[at], ARGV[at + 1], ARGV[at + 2], ARGV[at + 3]
        local mine = held(queue, owner)
        if what == 'done' then
            local count = tonumber(ARGV[at + 4])
            at = at + 5
            for first = at, at + count - 1, CHUNK do
                local last, gone = math.min(first + CHUNK, at + count) - 1, {}
                local known = redis.call('HMGET', mine, unpack(ARGV, first, last))
                for each = first, last do
                    if still(known[each - first + 1], lease) then
                        gone[#gone + 1] = ARGV[each]
                    else
                        stale = stale + 1
                    end
                end
                if #gone > 0 then
                    redis.call('HDEL', mine, unpack(gone))
                    redis.call('HDEL', base(queue) .. '.msgs', unpack(gone))
                    redis.call('HDEL', base(queue) .. '.fates', unpack(gone))
                end
            end
            at = at + count
        else
            local id = ARGV[at + 4]
            local priority = still(redis.call('HGET', mine, id), lease)
            if not priority then
                stale = stale + 1
            else
                redis.call('HDEL', mine, id)
                if what == 'back' then
                    redis.call('LPUSH', ready(queue, priority), id)
                else
                    redis.call('HSET', base(queue) .. '.msgs', id, ARGV[at + 6])
                    place(queue, id, priority, tonumber(ARGV[at + 5]))
                end
            end
            at = at + (what == 'back' and 5 or 7)
        end
    end
    return stale, at
end

-- What stock workers gave up: claimed, and known by its fate, so that it is kept as failed like all others.
local function take_over_dead(queue, owner, lease, limit, reply)
    local foreign = base(queue) .. '.XQ'
    local ids = redis.call('ZRANGE', foreign, 0, limit - 1)
    for _, id in ipairs(ids) do
        local message = redis.call('HGET', foreign .. '.msgs', id)
        redis.call('ZREM', foreign, id)
        redis.call('HDEL', foreign .. '.msgs', id)
        if message then
            redis.call('HSET', base(queue) .. '.msgs', id, message)
            redis.call('HSET', held(queue, owner), id, lease .. ':0')
            redis.call('HSET', base(queue) .. '.fates', id, 'dead')
            local size = #reply
            reply[size + 1], reply[size + 2], reply[size + 3], reply[size + 4] = queue, id, message, 'dead'
            limit = limit - 1
        end
    end
    return limit
end

-- ARGV: …, owner, limit, queues. Returns a lease, then queue, id, message and fate of each.
local function claim(at, reply)
    local owner, limit = ARGV[at], tonumber(ARGV[at + 1])
    if limit <= 0 then
        return
    end
    local lease = redis.call('INCR', namespace .. ':__lease__')
    reply[#reply + 1] = lease
    redis.call('SADD', namespace .. ':__owners__', owner)
    for each = at + 2, #ARGV do
        local queue = ARGV[each]
        take_over(queue)
        promote(queue)
        limit = take_over_dead(queue, owner, lease, limit, reply)
        for priority = 5, 0, -1 do
            while limit > 0 do
                local ids = redis.call('LPOP', ready(queue, priority), math.min(limit, CHUNK))
                if not ids then
                    break
                end
                local messages = redis.call('HMGET', base(queue) .. '.msgs', unpack(ids))
                local fates = redis.call('HMGET', base(queue) .. '.fates', unpack(ids))
                local mine = {}
                for each_id, id in ipairs(ids) do
                    if messages[each_id] then
                        mine[#mine + 1], mine[#mine + 2] = id, lease .. ':' .. priority
                        local size = #reply
                        reply[size + 1], reply[size + 2] = queue, id
                        reply[size + 3], reply[size + 4] = messages[each_id], fates[each_id] or ''
                        limit = limit - 1
                    end
                end
                if #mine > 0 then
                    redis.call('HSET', held(queue, owner), unpack(mine))
                end
            end
        end
        if limit <= 0 then
            return
        end
    end
end

if command == 'exchange' then
    local stale, at = settle(2)
    local reply = { stale }
    claim(at, reply)
    return reply

-- ARGV: queue, owner, id, lease. Returns whether it is still theirs.
elseif command == 'mark' then
    local mine = held(ARGV[2], ARGV[3])
    local priority = still(redis.call('HGET', mine, ARGV[4]), ARGV[5])
    if not priority then
        return 0
    end
    redis.call('HSET', mine, ARGV[4], ARGV[5] .. ':' .. priority .. '*')
    return 1

-- ARGV: owner. Returns queue, id, what it is held by, and fate of all that it holds.
elseif command == 'holdings' then
    local reply = {}
    for _, queue in ipairs(redis.call('SMEMBERS', namespace .. ':__queues__')) do
        local all = redis.call('HGETALL', held(queue, ARGV[2]))
        for each = 1, #all, 2 do
            local size, fate = #reply, redis.call('HGET', base(queue) .. '.fates', all[each])
            reply[size + 1], reply[size + 2], reply[size + 3] = queue, all[each], all[each + 1]
            reply[size + 4] = fate or ''
        end
    end
    return reply

-- ARGV: owner, lease in milliseconds, then queue, id, what it is held by, fate and wait of each.
-- Returns how many were freed. The owner is forgotten once it has been dead for a lease.
elseif command == 'bury' then
    local owner, freed = ARGV[2], 0
    for each = 4, #ARGV, 5 do
        local queue, id, known, fate, wait = unpack(ARGV, each, each + 4)
        if redis.call('HGET', held(queue, owner), id) == known then
            redis.call('HDEL', held(queue, owner), id)
            redis.call('HSET', base(queue) .. '.fates', id, fate)
            local priority = known:match(':(%d)')
            if tonumber(wait) > 0 then
                place(queue, id, priority, tonumber(wait))
            else
                redis.call('LPUSH', ready(queue, priority), id)
            end
            freed = freed + 1
        end
    end
    local buried = redis.call('HGET', namespace .. ':__buried__', owner)
    if not buried then
        redis.call('HSET', namespace .. ':__buried__', owner, now)
        redis.call('HSET', namespace .. ':__workers__', owner, -1)
    elseif now - buried > tonumber(ARGV[3]) then
        redis.call('HDEL', namespace .. ':__buried__', owner)
        forget(owner)
    end
    return freed

-- ARGV: worker, which ends.
elseif command == 'forget' then
    forget(ARGV[2])

-- ARGV: worker. Returns whether it counts as living.
elseif command == 'beat' then
    local workers = namespace .. ':__workers__'
    local beat = redis.call('HGET', workers, ARGV[2])
    if not beat or tonumber(beat) < 0 then
        return 0
    end
    redis.call('HINCRBY', workers, ARGV[2], 1)
    return 1

-- ARGV: queue, limit. Drops so many at most: delayed ones first, as what comes due meanwhile is ready by then.
-- Returns how many were found, and how many of them were there.
elseif command == 'clear' then
    local queue, limit = ARGV[2], tonumber(ARGV[3])
    local delayed, ids = base(queue) .. '.delayed', {}
    take_over(queue)
    for _, member in ipairs(redis.call('ZRANGE', delayed, 0, limit - 1)) do
        redis.call('ZREM', delayed, member)
        ids[#ids + 1] = member:sub(3)
    end
    for priority = 0, 5 do
        if #ids < limit then
            for _, id in ipairs(redis.call('LPOP', ready(queue, priority), limit - #ids) or {}) do
                ids[#ids + 1] = id
            end
        end
    end
    local dropped = 0
    for first = 1, #ids, CHUNK do
        local last = math.min(first + CHUNK - 1, #ids)
        dropped = dropped + redis.call('HDEL', base(queue) .. '.msgs', unpack(ids, first, last))
        redis.call('HDEL', base(queue) .. '.fates', unpack(ids, first, last))
    end
    return { #ids, dropped }

-- ARGV: queue. Returns how many are ready, delayed and reserved.
elseif command == 'sizes' then
    local queue = ARGV[2]
    take_over(queue)
    promote(queue)
    local sizes = { 0, redis.call('ZCARD', base(queue) .. '.delayed'), 0 }
    for priority = 0, 5 do
        sizes[1] = sizes[1] + redis.call('LLEN', ready(queue, priority))
    end
    for _, owner in ipairs(redis.call('SMEMBERS', namespace .. ':__owners__')) do
        sizes[3] = sizes[3] + redis.call('HLEN', held(queue, owner))
    end
    return sizes
end
