#!/usr/bin/env bash
# A PostgreSQL cluster on this machine, for tests: three etcd, three Patroni nodes with synchronous replication, and HAProxy in
# front of the nodes and of two Conduit servers. Runs as root on Debian with etcd-server, patroni, postgresql and haproxy.
#
#   cluster.sh up | down | primary | sync | start-node N | wait-ready | kill-node N | freeze-node N | switchover
#   cluster.sh start-pooler N | kill-pooler N
#
# The environment names everything: CLUSTER_DIR, a new folder; CLUSTER_PORT, the first of 60 ports; CLUSTER_TTL, after how many
# seconds Patroni replaces a primary; PGBOUNCER, the program of the poolers, if they are used.
set -euo pipefail

dir=$CLUSTER_DIR
port=$CLUSTER_PORT
ttl=$CLUSTER_TTL
# The outgoing connections of a machine take its higher ports: here are those that the caller uses, too.
etcd_client() { echo $((port + $1 * 2)); }
etcd_peer() { echo $((port + $1 * 2 + 1)); }
rest() { echo $((port + 10 + $1)); }
postgres() { echo $((port + 20 + $1)); }
pooler() { echo $((port + 24 + $1)); }
server() { echo $((port + 30 + $1)); }
writable=$((port + 40))
rotating=$((port + 41))
sticky=$((port + 42))

# Runs a program as the user of PostgreSQL, in a session of its own. Its process ID is in a file.
start() {
  local name=$1
  shift
  setsid setpriv --reuid=postgres --regid=postgres --init-groups --inh-caps=-all \
    env -i PATH=/usr/bin:/bin LANG=C.UTF-8 HOME="$dir" "$@" >>"$dir/$name.log" 2>&1 </dev/null &
  echo $! >"$dir/$name.pid"
}

wait_for() {
  local end=$((SECONDS + $1)) what=$2
  shift 2
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$end" ] || { echo "this took longer than expected: $what" >&2; return 1; }
    sleep 0.1
  done
}

get() { curl -fs -m 2 -o /dev/null "http://127.0.0.1:$1"; }

# The number of the first node whose Patroni says yes.
node_that() {
  local n
  for n in 0 1 2; do get "$(rest $n)/$1" && { echo $n; return 0; }; done
  return 1
}

sql() { PGPASSWORD=superuser psql -X -qAt -h 127.0.0.1 -p "$writable" -U postgres -v ON_ERROR_STOP=1 -c "$1"; }

# As the primary counts them: Patroni also takes a node for a replica that does not follow yet.
has_replicas() { [ "$(sql "select count(*) from pg_stat_replication where state = 'streaming'")" -ge "$1" ]; }

processes_of() {
  local postmaster
  postmaster=$(head -n 1 "$dir/data$1/postmaster.pid")
  echo "$(cat "$dir/patroni$1.pid")" "$postmaster" "$(pgrep -P "$postmaster" | tr '\n' ' ')"
}

signal_node() {
  local processes
  processes=$(processes_of "$1")
  # shellcheck disable=SC2086 # several
  kill "-$2" $processes
}

# The postmaster first, so that it starts no process that goes on.
freeze_node() {
  kill -STOP "$(head -n 1 "$dir/data$1/postmaster.pid")"
  signal_node "$1" STOP
}

write_patroni() {
  cat >"$dir/patroni$1.yml" <<YAML
scope: conduit
name: node$1
restapi: { listen: "127.0.0.1:$(rest "$1")", connect_address: "127.0.0.1:$(rest "$1")" }
etcd3: { hosts: "127.0.0.1:$(etcd_client 0),127.0.0.1:$(etcd_client 1),127.0.0.1:$(etcd_client 2)" }
bootstrap:
  dcs:
    ttl: $ttl
    loop_wait: 1
    retry_timeout: 2
    primary_start_timeout: 0
    synchronous_mode: true
    postgresql:
      use_pg_rewind: true
      use_slots: true
      parameters: { wal_level: replica, hot_standby: "on", max_connections: 120, wal_keep_size: 128MB, wal_log_hints: "on" }
  initdb: [ { encoding: UTF8 }, { locale: C.UTF-8 }, data-checksums ]
postgresql:
  listen: "127.0.0.1:$(postgres "$1")"
  connect_address: "127.0.0.1:$(postgres "$1")"
  data_dir: $dir/data$1
  bin_dir: $(pg_config --bindir 2>/dev/null || dirname "$(find /usr/lib/postgresql -name initdb | sort -V | tail -n 1)")
  pgpass: $dir/pgpass$1
  authentication:
    superuser: { username: postgres, password: superuser }
    replication: { username: replicator, password: replicator }
    rewind: { username: rewinder, password: rewinder }
  parameters:
    unix_socket_directories: $dir
    shared_buffers: 64MB
    wal_receiver_status_interval: 1s
    wal_receiver_timeout: 3s
    wal_sender_timeout: 3s
  pg_hba:
    - local all all trust
    - host replication replicator 127.0.0.1/32 scram-sha-256
    - host all all 127.0.0.1/32 scram-sha-256
YAML
}

write_haproxy() {
  local n
  {
    cat <<CFG
global
  maxconn 2000
defaults
  timeout connect 1s
  timeout client 1m
  timeout server 1m
  timeout check 3s
  option redispatch

listen writable
  mode tcp
  bind 127.0.0.1:$writable
  option httpchk OPTIONS /primary
  default-server inter 500ms fastinter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
CFG
    for n in 0 1 2; do echo "  server node$n 127.0.0.1:$(postgres $n) check port $(rest $n)"; done
    for balance in "rotating $rotating roundrobin" "sticky $sticky source"; do
      # shellcheck disable=SC2086 # three words
      set -- $balance
      cat <<CFG

listen $1
  mode http
  bind 127.0.0.1:$2
  balance $3
  option httpchk GET /health/ready
  default-server inter 1s fall 2 rise 1
CFG
      for n in 0 1; do echo "  server conduit$n 127.0.0.1:$(server $n) check"; done
    done
  } >"$dir/haproxy.cfg"
}

up() {
  local n
  mkdir -p "$dir"
  for n in 0 1 2; do write_patroni $n; done
  write_haproxy
  chown -R postgres "$dir"
  chmod 750 "$dir"
  for n in 0 1 2; do
    start etcd$n etcd --name e$n --data-dir "$dir/etcd$n" --unsafe-no-fsync --log-level warn \
      --listen-client-urls "http://127.0.0.1:$(etcd_client $n)" --advertise-client-urls "http://127.0.0.1:$(etcd_client $n)" \
      --listen-peer-urls "http://127.0.0.1:$(etcd_peer $n)" --initial-advertise-peer-urls "http://127.0.0.1:$(etcd_peer $n)" \
      --initial-cluster "e0=http://127.0.0.1:$(etcd_peer 0),e1=http://127.0.0.1:$(etcd_peer 1),e2=http://127.0.0.1:$(etcd_peer 2)" \
      --initial-cluster-state new --heartbeat-interval 100 --election-timeout 1000
  done
  wait_for 20 etcd get "$(etcd_client 0)/health"
  for n in 0 1 2; do start_node $n; done
  start haproxy /usr/sbin/haproxy -db -f "$dir/haproxy.cfg"
  wait_for 60 "a primary" node_that primary
  wait_ready
  sql "create role conduit login password 'conduit'"
  sql "create database conduit owner conduit"
}

start_node() { start "patroni$1" patroni "$dir/patroni$1.yml"; }

# Default settings, but for what docs/operations/deploy.md and cluster.md say.
start_pooler() {
  cat >"$dir/pgbouncer$1.ini" <<INI
[databases]
conduit = host=127.0.0.1 port=$(postgres "$1") user=conduit password=conduit
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $(pooler "$1")
unix_socket_dir =
auth_type = any
pool_mode = transaction
max_prepared_statements = 200
server_login_retry = 1
query_wait_timeout = 2
INI
  start "pgbouncer$1" "$PGBOUNCER" "$dir/pgbouncer$1.ini"
}

# Until another primary can be lost without losing a write.
wait_ready() {
  wait_for 60 "two replicas" has_replicas 2
  wait_for 30 "a synchronous replica" node_that sync
}

# The data is not needed any more: PostgreSQL ends at once, which frees its shared memory.
down() {
  local n postmaster
  kill -9 "$(cat "$dir/haproxy.pid")" || true
  for n in 0 1 2; do
    kill -9 "$(cat "$dir/patroni$n.pid")" "$(cat "$dir/etcd$n.pid")" || true
    [ ! -e "$dir/pgbouncer$n.pid" ] || kill -9 "$(cat "$dir/pgbouncer$n.pid")" || true
    postmaster=$(head -n 1 "$dir/data$n/postmaster.pid") || continue
    kill -CONT "$postmaster" || continue
    kill -QUIT "$postmaster" || continue
    wait_for 10 "the end of node $n" not_running "$postmaster"
  done
  rm -rf "$dir"
} 2>/dev/null

not_running() { ! kill -0 "$1"; }

case "${1:-}" in
  up) up ;;
  down) down ;;
  primary) node_that primary ;;
  sync) node_that sync ;;
  start-node) start_node "$2" ;;
  wait-ready) wait_ready ;;
  kill-node) signal_node "$2" KILL ;;
  freeze-node) freeze_node "$2" ;;
  start-pooler) start_pooler "$2" ;;
  kill-pooler) kill -9 "$(cat "$dir/pgbouncer$2.pid")" ;;
  switchover)
    curl -fs -m 30 -XPOST -d "{\"leader\":\"node$(node_that primary)\"}" "http://127.0.0.1:$(rest "$(node_that primary)")/switchover"
    ;;
  *)
    sed -n 's/^# \{0,1\}//; 2,10p' "$0" >&2
    exit 2
    ;;
esac
