#!/usr/bin/env bash
# Cards are damaged while all is down: the identity, the superblocks, segments
# with flipped bits, a segment cut off, on one or two of eight. A chunk server
# tells of it or refuses to start, and never crashes; nothing is lost, and nothing
# false is read.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# flip FILE: 64 random bytes, somewhere in its first half.
flip() {
	head -c 64 /dev/urandom |
		dd of="$1" bs=1 seek=$((RANDOM * 32768 % ($(stat -c %s "$1") / 2))) conv=notrunc 2>/dev/null
}

flip_all() { find "$CLUSTER/$1/data" -type f -size +0 | while read -r file; do flip "$file"; done; }

flip_segments() {
	local file
	for file in "$CLUSTER/$1"/data/segment-*; do flip "$file"; done
}

flip_volumes() {
	local file
	for file in "$CLUSTER/$1"/data/volume-*; do flip "$file"; done
}

cut_newest() {
	local newest
	newest=$(find "$CLUSTER/$1/data" -name 'segment-*' | sort | tail -n 1)
	truncate -s $(($(stat -c %s "$newest") / 2)) "$newest"
}

empty_card() { rm -r "${CLUSTER:?}/$1/data"; }

# serves_or_says_why: it runs, or it ended with an error that is no crash.
serves_or_says_why() {
	! grep -E -q '^panic|^goroutine' "$DIR/$1.log" || fail "$1 crashed"
	running "$1" && return
	[[ $(<"$DIR/$1.status") == 2 ]] || fail "$1 ended with status $(<"$DIR/$1.status")"
	say "$1 says: $(grep '^rozobox:' "$DIR/$1.log" | tail -n 1 | cut -c 1-200)"
}

# up_or_ended NODE: since the mark that start_nodes_first has put into its log.
up_or_ended() { ! running "$1" || sed '1,/^-- damaged/d' "$DIR/$1.log" | grep -q "is listening"; }

# start_nodes_first has all nodes up before the gateway: a volume stands two cards
# that fail, damaged ones and those that are not there yet together.
start_nodes_first() {
	local node
	for node in "${NODES[@]}"; do echo "-- damaged" >>"$DIR/$node.log"; done
	start_nodes
	for node in "${NODES[@]}"; do wait_for 60 "$node listens, or has ended" up_or_ended "$node"; done
	start_gateway
}

compare() {
	nbdcopy "$URI" "$DIR/out"
	cmp "$DIR/in" "$DIR/out"
}

# fill writes anew, so that what was synced is newer than any superblock.
fill() {
	head -c 16M /dev/urandom >"$DIR/in"
	truncate -s "${SIZE%iB}" "$DIR/in"
	nbdcopy --flush "$DIR/in" "$URI"
}

# survives WHAT NODE...: with these cards damaged so, all is read as it was. The
# next one begins with whole cards again.
survives() {
	local what=$1 node
	shift
	say "$what: $*"
	wait_for 60 "all cards are in" "$ROZOBOX" status --config "$GATEWAY_TOML" # two may be lost then
	fill
	crash_all
	cp -r "$CLUSTER" "$DIR/kept"
	for node; do "$what" "$node"; done
	start_nodes_first
	wait_served
	compare
	for node; do serves_or_says_why "$node"; done
	crash_all
	rm -r "$CLUSTER" && mv "$DIR/kept" "$CLUSTER"
	rm -f "$DIR"/pi?.log
	start_all
	wait_served
}

begin
cluster_new
survives flip_all pi2
survives flip_volumes pi2 pi5
survives flip_segments pi2 pi5
survives empty_card pi2 pi5
survives cut_newest pi2
