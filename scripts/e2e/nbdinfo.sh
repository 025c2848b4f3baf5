#!/usr/bin/env bash
# nbdinfo lists the exports and describes them; volumes come and go while the
# gateway runs; status tells of nodes that died; everything stops cleanly.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

volume() { "$ROZOBOX" volume "$1" --config "$GATEWAY_TOML" "${@:2}"; }

describes() {
	local info word
	info=$(nbdinfo --json "$URI")
	for word in '"export-size": 268435456' '"is_read_only": false' '"can_flush": true' '"can_fua": true' \
		'"can_trim": true' '"can_zero": true' '"can_multi_conn": true' '"block_size_preferred": 32768'; do
		[[ $info == *"$word"* ]] || fail "nbdinfo does not say $word: $info"
	done
}

several_volumes() {
	volume create other --size 1GiB --block-size 64KiB >/dev/null
	expect_error "other" volume create other --size 1GiB
	[[ $(nbdinfo --json --list "nbd://127.0.0.1:$NBD_PORT") == *'"export-name": "other"'* ]] || fail "other is not listed"
	[[ $(nbdinfo --size "nbd://127.0.0.1:$NBD_PORT/other") == $((1 << 30)) ]] || fail "other has a wrong size"
	expect_error "" volume delete other --confirm another
	volume delete other --confirm other
	expect_error "" nbdinfo "nbd://127.0.0.1:$NBD_PORT/other"
}

# exits STATUS CMD...: CMD ends with that status.
exits() {
	local want=$1 got=0
	shift
	"$@" >/dev/null 2>&1 || got=$?
	[[ $got == "$want" ]]
}

tells_health() {
	wait_for 10 "status is healthy" exits 0 "$ROZOBOX" status --config "$GATEWAY_TOML"
	crash pi3
	wait_for 10 "status is degraded" exits 1 "$ROZOBOX" status --config "$GATEWAY_TOML"
	[[ $("$ROZOBOX" status --json --config "$GATEWAY_TOML" || true) == *'"unavailable"'* ]] ||
		fail "the JSON does not tell that a node is unavailable"
	start_node pi3
	stop gateway
	((STATUS == 0)) || fail "the gateway ended with status $STATUS"
	exits 2 "$ROZOBOX" status --config "$GATEWAY_TOML" || fail "without a gateway, status is not 2"
	stop pi1
	((STATUS == 0)) || fail "a chunk server ended with status $STATUS"
}

begin
cluster_new
describes
several_volumes
tells_health
