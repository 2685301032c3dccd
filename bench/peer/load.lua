-- The requests of one measurement, for wrk. WORK is the folder with the lists of names, KIND the kind of request, SEED
-- a number that makes the titles of this measurement new.
local work, kind, seed = os.getenv("WORK"), os.getenv("KIND"), tonumber(os.getenv("SEED"))

local function read(name)
  local lines = {}
  for line in io.lines(work .. "/" .. name) do lines[#lines + 1] = line end
  return lines
end

local slugs, tags, tokens = read("slugs.txt"), read("tags.txt"), read("tokens.txt")
math.randomseed(seed)

local function any(list) return list[math.random(#list)] end

-- Zipf's law by inversion, approximately: half of the requests go to a few dozen.
local function zipf(list)
  return list[math.min(#list, math.floor(math.exp(math.random() * math.log(#list))))]
end

local function escaped(text)
  return (text:gsub("[^%w-]", function(char) return string.format("%%%02X", char:byte()) end))
end

-- The peer has no sign-in, so it takes the number of the writer from a header.
local function send(method, path, writer, body)
  local headers = {}
  if writer then
    headers["Authorization"] = "Token " .. tokens[writer]
    headers["X-Writer"] = writer
  end
  if body then headers["Content-Type"] = "application/json" end
  return wrk.format(method, path, headers, body)
end

local i = 0

local function anyone() return math.random(#tokens) end

local function favourite(method, slug, writer)
  return send(method, "/api/articles/" .. slug .. "/favorite", writer)
end

local function publish(tagList)
  local title = "Side " .. seed .. " " .. i
  local body = string.rep("word ", 200)
  return send("POST", "/api/articles", anyone(), '{"article":{"title":"' .. title
    .. '","description":"by side","body":"' .. body .. '","tagList":[' .. tagList .. "]}}")
end

local function twoTags()
  local n = math.random(#tags)
  return '"' .. tags[n] .. '","' .. tags[n % #tags + 1] .. '"'
end

local kinds = {}

kinds["live"] = function() return send("GET", "/health/live") end
kinds["list"] = function() return send("GET", "/api/articles") end
kinds["pages"] = function() return send("GET", "/api/articles?offset=" .. math.random(0, 50) * 20) end
kinds["tag"] = function() return send("GET", "/api/articles?tag=" .. escaped(zipf(tags))) end
kinds["signed-in list"] = function() return send("GET", "/api/articles", anyone()) end
kinds["article"] = function() return send("GET", "/api/articles/" .. zipf(slugs)) end

-- A block of POSTs, then the DELETEs that reverse them. A block is larger than the number of requests in flight: a DELETE
-- that arrives before its POST has finished would change nothing.
local BLOCK = 64
local block = {}
kinds["favourite"] = function()
  local isPost = (i - 1) % (2 * BLOCK) < BLOCK
  local place = (i - 1) % BLOCK
  if isPost then block[place] = { slug = any(slugs), writer = anyone() } end
  return favourite(isPost and "POST" or "DELETE", block[place].slug, block[place].writer)
end

kinds["publish"] = function() return publish(twoTags()) end
kinds["publish, one tag"] = function() return publish('"tea"') end

-- Of 20 requests one publishes, one favourites, and 18 read, half of them signed in.
kinds["mix"] = function()
  if i % 20 == 0 then return publish(twoTags()) end
  if i % 10 == 0 then return favourite("POST", zipf(slugs), anyone()) end
  local kindOfRead = math.random()
  local reader = kindOfRead >= 0.5 and anyone() or nil
  if kindOfRead < 0.4 then return send("GET", "/api/articles", reader) end
  return send("GET", "/api/articles/" .. zipf(slugs), reader)
end

function request()
  i = i + 1
  return kinds[kind]()
end
