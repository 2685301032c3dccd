# For "source": starts a server as a user would, with a new data folder on a free port, and stops it when the script exits.
#
#   start_server                    npm start, with the embedded PostgreSQL
#   start_server dist/conduit       the executable, with an external PostgreSQL
#
# Sets url, and folder: a temporary folder, which the script may use too.

folder=$(mktemp -d)
server_pid=""
postgres_pid=""

start_server() {
  export PORT=0 HOST=127.0.0.1 LOG_LEVEL=warn LOG_FORMAT=pretty
  if [ $# -gt 0 ]; then
    export DATABASE_URL=${TEST_DATABASE_URL:-}
    if [ -z "$DATABASE_URL" ]; then
      node_modules/.bin/bun scripts/postgres.ts >"$folder/postgres" &
      postgres_pid=$!
      DATABASE_URL=$(first_line "$postgres_pid" "$folder/postgres" "")
    fi
    "$@" serve >"$folder/out" 2>&1 &
  else
    DATA_DIR="$folder/data" npm start >"$folder/out" 2>&1 &
  fi
  server_pid=$!
  # shellcheck disable=SC2034 # for the script
  url=$(first_line "$server_pid" "$folder/out" "Server is running on ")
}

# The rest of the first line of a file that begins with a text. Waits for it: at most 30 s, and as long as the process runs.
first_line() {
  local pid=$1 file=$2 start=$3 found
  for _ in $(seq 1 300); do
    found=$(sed -n "s|^$start||p" "$file" | head -n 1)
    [ -z "$found" ] || { echo "$found"; return; }
    kill -0 "$pid" 2>/dev/null || { echo "the process exited before it was ready" >&2; return 1; }
    sleep 0.1
  done
  echo "the process was not ready within 30 s" >&2
  return 1
}

stop_server() {
  local status=$? started_pid
  [ -z "$server_pid" ] || kill -TERM "$server_pid" 2>/dev/null || true
  [ -z "$server_pid" ] || wait "$server_pid" 2>/dev/null || true
  # npm exits before the server does.
  started_pid=$(cat "$folder/data/postgres.lock.pid" 2>/dev/null || true)
  while [ -n "$started_pid" ] && kill -0 "$started_pid" 2>/dev/null; do sleep 0.1; done
  [ -z "$postgres_pid" ] || kill -TERM "$postgres_pid" 2>/dev/null || true
  [ -z "$postgres_pid" ] || wait "$postgres_pid" 2>/dev/null || true
  [ "$status" = 0 ] || cat "$folder/out"
  rm -rf "$folder"
  exit "$status"
}
trap stop_server EXIT
