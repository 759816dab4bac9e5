-- Posts the lines of a file in order and prints one line of JSON. With THINK_MS, each client waits before each
-- request, exponentially distributed around that mean: many such clients make a stream of about CLIENTS / THINK_MS.
--   wrk -t1 ... -s load.lua URL -- BODIES [THINK_MS]

local bodies = {}
local sent = 0

function init(args)
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = wrk.format("POST", nil, { ["Content-Type"] = "application/json" }, line)
  end
  local think_ms = tonumber(args[2] or "0")
  if think_ms > 0 then
    function delay() return math.floor(-math.log(1 - math.random()) * think_ms + 0.5) end
  end
end

function request()
  sent = sent + 1
  return bodies[(sent - 1) % #bodies + 1]
end

function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p95_ms": %.3f, "p99_ms": %.3f, ' ..
    '"bad_status": %d, "timeouts": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6,
    latency:percentile(50) / 1e3, latency:percentile(95) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.timeout, errors.connect + errors.read + errors.write))
end
