-- For wrk: sends the requests of a file, in which they are separated by NUL, in order, and prints the figures as JSON.
-- Arguments: the file, "once" to stop after the last request instead of starting again, the number of requests in
-- flight, and the mean pause between a response and the next request of a connection, in milliseconds.
local ffi = require("ffi")
ffi.cdef [[
  typedef struct { long seconds; long nanoseconds; } timespec;
  int clock_gettime(int clock, timespec *now);
]]
local CLOCK_MONOTONIC = 1
local now = ffi.new("timespec")

local function seconds()
  ffi.C.clock_gettime(CLOCK_MONOTONIC, now)
  return tonumber(now.seconds) + tonumber(now.nanoseconds) / 1e9
end

local requests = {}
local once = false
local sent = 0
local thread

-- Read by done(), which runs apart from the thread. wrk itself waits until its time has passed, even if no request is left.
started = 0
stopped = 0

function setup(its)
  thread = its
end

function init(args)
  local file = assert(io.open(args[1], "rb"))
  for request in file:read("*a"):gmatch("([^%z]+)") do
    requests[#requests + 1] = request
  end
  file:close()
  once = args[2] == "once"
  local pipelined = tonumber(args[3])
  if pipelined > 1 then
    for i, request in ipairs(requests) do
      requests[i] = request:rep(pipelined)
    end
  end
  local pauseMs = tonumber(args[4])
  if pauseMs > 0 then
    pauseBetween(pauseMs)
  end
end

function pauseBetween(meanMs)
  -- Between nothing and twice the mean, so that the connections do not send at the same time. wrk calls this if it exists.
  function delay()
    return math.random(0, 2 * meanMs)
  end
end

function request()
  sent = sent + 1
  if sent == 1 then
    started = seconds()
  end
  if once and sent > #requests then
    stopped = seconds()
    wrk.thread:stop()
  end
  return requests[(sent - 1) % #requests + 1]
end

function done(summary, latency)
  local errors = summary.errors
  local lasted = summary.duration / 1e6
  if thread:get("stopped") > 0 then
    lasted = thread:get("stopped") - thread:get("started")
  end
  io.write(string.format(
    'FIGURES {"count":%d,"seconds":%.6f,"p50Ms":%.4f,"p99Ms":%.4f,"errors":%d}\n',
    summary.requests, lasted, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status + errors.connect + errors.read + errors.write + errors.timeout))
end
