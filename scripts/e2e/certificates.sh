#!/usr/bin/env bash
# Who has no certificate of the cluster, or one of the wrong role, gets nothing;
# and is told why.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

all_answer() {
	[[ $("$ROZOBOX" status --json --config "$GATEWAY_TOML" || true) != *'"state": "unavailable"'* ]]
}

# A node of another cluster listens where pi1 should be: the gateway does without.
foreign_node() {
	stop pi1
	mv "$CLUSTER" "$DIR/mine"
	cluster_files_again
	mv "$CLUSTER" "$DIR/foreign" && mv "$DIR/mine" "$CLUSTER"
	launch foreign "$ROZOBOX" chunkserver --config "$DIR/foreign/pi1/chunkserver.toml"
	wait_for 20 "the gateway complains" grep -E -q 'certificate|identity' "$DIR/gateway.log"
	sleep 2
	! all_answer || fail "a foreign node was taken for pi1"
	crash foreign
}

# cluster_files_again makes a cluster of the same name and addresses, and another CA.
cluster_files_again() {
	local args=() i
	for i in "${!NODES[@]}"; do args+=(--node "${NODES[i]}=127.0.0.1:$((NBD_PORT + 2 + i))"); done
	"$ROZOBOX" init --dir "$CLUSTER" --name e2e --transport "$TRANSPORT" "${args[@]}" >/dev/null
}

# pi2's certificate under pi1's name.
wrong_id() {
	cp -r "$CLUSTER/pi1" "$DIR/pi1"
	cp "$CLUSTER/pi2/pi2.crt" "$DIR/pi1/pi1.crt"
	cp "$CLUSTER/pi2/pi2.key" "$DIR/pi1/pi1.key"
	expect_error pi2 "$ROZOBOX" chunkserver --config "$DIR/pi1/chunkserver.toml"
}

# A monitor's certificate commands nothing.
wrong_role() {
	expect_error "" "$ROZOBOX" volume create --config "$CLUSTER/monitor/monitor.toml" more --size 1GiB
	cp -r "$CLUSTER/gateway" "$DIR/usurper"
	cp "$CLUSTER/monitor/monitor.crt" "$DIR/usurper/gateway.crt"
	cp "$CLUSTER/monitor/monitor.key" "$DIR/usurper/gateway.key"
	expect_error "certificate" "$ROZOBOX" gateway --config "$DIR/usurper/gateway.toml"
}

open_key() {
	chmod 644 "$CLUSTER/pi1/pi1.key"
	expect_error "pi1.key" "$ROZOBOX" chunkserver --config "$CLUSTER/pi1/chunkserver.toml"
	chmod 600 "$CLUSTER/pi1/pi1.key"
}

begin
cluster_new
foreign_node
wrong_id
wrong_role
open_key
start_node pi1
wait_for 20 "pi1 is back" all_answer
