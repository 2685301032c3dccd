-- What shows whether a standby follows the present primary. At each failover, the new primary begins a timeline, and servers
-- record it here: a standby with the row has replayed what that primary wrote (docs/decisions/0041-replicas.md). A row a failover.

create table timelines (
  -- <system identifier of the cluster>/<number of the timeline, in hexadecimal as in the names of log files>
  id   text collate "C" constraint timelines_pkey primary key,
  -- Two standbys that do not know of each other can begin timelines of the same number.
  mark uuid not null default gen_random_uuid()
);
