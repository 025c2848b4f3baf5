#!/usr/bin/env bash
# Any two nodes may fail at any moment, and nobody notices: fio writes and
# verifies files on ext4 while nodes are killed, frozen, or lose their card, one
# by one and two at a time, and return. No error, every byte right, a clean file
# system, and in the end every node is in and every block has all its chunks.
#
# Then three nodes fail at once, which is one too many: requests wait, and go on
# when one returns; after io_timeout they fail with a true error, and the volume
# works again by itself when nodes return.
#
#   scripts/e2e/failures.sh [--minutes MINUTES]
#
#   --minutes  how long nodes fail, as a number (one round, below a minute)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$(dirname "${BASH_SOURCE[0]}")/loop.sh"

MINUTES=0
RESYNC_BOUND=180 # seconds until a node that returns must be in again; usually 2 to 10

parse_options() {
	while (($#)); do
		[[ $1 == --minutes && ${2:-} =~ ^[0-9]+$ ]] || fail "want --minutes NUMBER, not \"$*\""
		MINUTES=$2
		shift 2
	done
}

healthy() { "$ROZOBOX" status --config "$GATEWAY_TOML"; }

# wait_healthy: every node is in, no block lacks a chunk, and fio goes on.
wait_healthy() {
	local deadline=$((SECONDS + RESYNC_BOUND))
	until healthy >"$DIR/status"; do
		check_load
		((SECONDS < deadline)) || fail "not healthy after $RESYNC_BOUND s: $(<"$DIR/status")"
		sleep 0.5
	done
}

# load writes and verifies files until $DIR/enough is there. Blocks of the volume
# are 32 KiB: 16 KiB is half of one, 4 KiB with fsync the hardest for the nodes.
load() {
	until [[ -e $DIR/enough ]]; do
		fio --directory="$DIR/mnt" --direct=1 --verify=crc32c --verify_fatal=1 --verify_state_save=0 \
			--randrepeat=0 --fallocate=none --output="$DIR/fio.out" \
			--name=halves --rw=randwrite --bs=16k --size=12m --ioengine=libaio --iodepth=8 \
			--name=synced --rw=randwrite --bs=4k --size=512k --fsync=1 >"$DIR/fio.log" 2>&1 || return 1
		echo pass >>"$DIR/passes"
	done
}

# check_load fails as soon as fio has.
check_load() {
	[[ -z ${LOAD:-} ]] || kill -0 "$LOAD" 2>/dev/null || fail "fio: $(cat "$DIR/fio.log" "$DIR/fio.out")"
}

# What can happen to a node, and how it returns.
kill_fail() { crash "$1"; }
kill_return() { start_node "$1"; }
freeze_fail() { kill -STOP "$(<"$DIR/$1.pid")"; }
freeze_return() { kill -CONT "$(<"$DIR/$1.pid")"; }
wipe_fail() { crash "$1" && rm -r "${CLUSTER:?}/$1/data"; }
wipe_return() { start_node "$1"; }

# mishap HOW COUNT: so many nodes fail at once, and return one after the other.
mishap() {
	local how=$1 node nodes began=$SECONDS
	mapfile -t nodes < <(shuf -n "$2" -e "${NODES[@]}")
	for node in "${nodes[@]}"; do "${how}_fail" "$node"; done
	sleep 2 # longer than node_timeout: the gateway has to notice
	check_load
	for node in "${nodes[@]}"; do
		"${how}_return" "$node"
		sleep 0.5
	done
	wait_healthy
	say "$how ${nodes[*]}: all are in again after $((SECONDS - began)) s"
}

mishaps() {
	local until=$((SECONDS + 60 * MINUTES)) how count
	while :; do
		for count in 1 2; do
			for how in kill freeze wipe; do mishap "$how" "$count"; done
		done
		((SECONDS < until)) || return 0
	done
}

survive_two() {
	attach_loop
	mkfs.ext4 -q "$LOOP"
	mount -o errors=remount-ro "$LOOP" "$DIR/mnt"
	head -c 24M /dev/urandom >"$DIR/old" # on all nodes before the first fails
	cp "$DIR/old" "$DIR/mnt/old"
	sync -f "$DIR/mnt"
	load &
	LOAD=$!
	mishaps
	touch "$DIR/enough"
	wait "$LOAD" || fail "fio: $(cat "$DIR/fio.log" "$DIR/fio.out")"
	LOAD=
	echo 3 >/proc/sys/vm/drop_caches
	cmp "$DIR/old" "$DIR/mnt/old" || fail "what was written before the first failure has changed"
	umount "$DIR/mnt"
	check_clean
	detach_loop
	wait_healthy
	say "fio verified its files $(wc -l <"$DIR/passes") times"
}

# The first MiB has a stripe on every set of nodes; so has the second.
read_old() { qemu-io -f raw -c "read -P 6 0 1M" "$URI"; }
write_new() { qemu-io -f raw -c "write -P $1 1M 1M" "$URI"; }
read_new() { qemu-io -f raw -c "read -P $1 1M 1M" "$URI"; }

crash_three() {
	crash pi1
	crash pi4
	crash pi6
}

# they_wait: with three nodes away requests wait; when one returns, they succeed.
they_wait() {
	local reader writer
	crash_three
	read_old >"$DIR/read.log" 2>&1 &
	reader=$!
	write_new 7 >"$DIR/write.log" 2>&1 &
	writer=$!
	sleep 3 # the lease has run out
	{ kill -0 "$reader" && kill -0 "$writer"; } || fail "it did not wait: $(cat "$DIR/read.log" "$DIR/write.log")"
	start_node pi4
	{ wait "$reader" && wait "$writer"; } || fail "a node is back: $(cat "$DIR/read.log" "$DIR/write.log")"
	read_new 7 >/dev/null || fail "what was written is not there"
	start_nodes
	wait_healthy
	say "with three nodes away requests wait, and go on when one returns"
}

# they_fail: after io_timeout; and the volume works again when a node returns.
they_fail() {
	local reader
	crash_three
	expect_error "Input/output error" read_old &
	reader=$!
	expect_error "Input/output error" write_new 8
	wait "$reader"
	start_node pi6
	wait_for 30 "the volume works again" write_new 9
	{ read_new 9 && read_old; } >/dev/null || fail "it works again, but reads something else"
	start_nodes
	wait_healthy
	say "after io_timeout they fail, and work again when one returns"
}

need_root "mounts a file system"
parse_options "$@"
begin
defer detach_loop
cluster_new
survive_two
qemu-io -f raw -c "write -P 6 0 1M" "$URI" >/dev/null
they_wait
they_fail
