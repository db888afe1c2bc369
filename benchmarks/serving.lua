-- What wrk asks for: recommendations of random users and, of a share of the requests, listens.
-- Arguments: users, tracks, share of listens, second from which they start, seed.

local users, tracks, share, clock, seed
local threads = {}
local number = 0
local devices = { "mobile", "desktop", "speaker", "web", "tablet" }

function setup(thread)
  number = number + 1
  thread:set("id", number)
  table.insert(threads, thread)
end

function init(args)
  users, tracks, share = tonumber(args[1]), tonumber(args[2]), tonumber(args[3])
  clock, seed = tonumber(args[4]), tonumber(args[5])
  math.randomseed(1000 * seed + id)
  refused = 0
end

function request()
  local user = string.format("user%07d", math.random(0, users - 1))
  clock = clock + 1
  if math.random() < share then
    local body = string.format(
      '{"listens": [{"user_id": "%s", "track_id": "track%08d", "timestamp": %d, '
        .. '"ms_played": 180000, "device": "mobile"}]}',
      user, math.random(0, tracks - 1), clock * 5)
    return wrk.format("POST", "/v1/listens", { ["Content-Type"] = "application/json" }, body)
  end
  local path = string.format(
    "/v1/users/%s/recommendations?device=%s&at=2019-06-%02dT%02d:00:00Z&k=10",
    user, devices[math.random(#devices)], math.random(10, 28), math.random(0, 23))
  return wrk.format("GET", path)
end

function response(status)
  if status ~= 200 then
    refused = refused + 1
  end
end

function done(summary, latency, requests)
  local not_200 = 0
  for _, thread in ipairs(threads) do
    not_200 = not_200 + thread:get("refused")
  end
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests": %d, "seconds": %.3f, "p50_ms": %.3f, "p90_ms": %.3f, "p99_ms": %.3f, '
      .. '"max_ms": %.3f, "not_200": %d, "socket_errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3,
    latency:percentile(90) / 1e3, latency:percentile(99) / 1e3, latency.max / 1e3, not_200,
    e.connect + e.read + e.write + e.timeout))
end
