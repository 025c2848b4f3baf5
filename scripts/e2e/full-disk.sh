#!/usr/bin/env bash
# Full cards: the client gets "no space", what was written stays readable, a
# discard makes room again. And disks that are read-only or full already when a
# chunk server starts: one clear error.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

small_cards() {
	local node
	for node in "${NODES[@]}"; do
		sed -i '1i capacity = "48MiB"' "$CLUSTER/$node/chunkserver.toml"
	done
}

# fill writes 4 MiB at a time, with a pattern that the offset tells.
fill() {
	local i out
	for ((i = 0; i < 64; i++)); do
		out=$(qemu-io -f raw -t none -c "write -P $((i + 1)) $((i * 4))M 4M" -c flush "$URI" 2>&1) || true
		[[ $out == *"No space left"* ]] && break
		[[ $out == *"wrote 4194304/4194304"* ]] || fail "write $i: $out"
	done
	[[ $out == *"No space left"* ]] || fail "cards of 48 MiB took 256 MiB"
	FILLED=$i
	say "full after $((4 * FILLED)) MiB"
	((FILLED > 25)) || fail "8 cards of 48 MiB hold more than $((4 * FILLED)) MiB"
}

# read_back FIRST: all that was written from there on.
read_back() {
	local i args=()
	for ((i = $1; i < FILLED; i++)); do args+=(-c "read -P $((i + 1)) $((i * 4))M 4M"); done
	qemu-io -r -f raw -t none "${args[@]}" "$URI" >"$DIR/read.log" 2>&1 || fail "read: $(<"$DIR/read.log")"
	! grep -E -q "failed|rror" "$DIR/read.log" || fail "read: $(<"$DIR/read.log")"
}

writes_again() {
	qemu-io -f raw -t none -c "write -P 99 0 4M" -c flush -c "read -P 99 0 4M" "$URI" 2>&1 | grep -q "wrote 4194304/4194304"
}

discard_makes_room() {
	qemu-io -f raw -t none -c "discard 0 64M" -c flush "$URI" >/dev/null
	wait_for 60 "there is room after a discard" writes_again
	read_back 16
}

read_only_disk() {
	stop pi1
	mkdir "$DIR/card"
	mount -t tmpfs -o size=64M card "$DIR/card"
	defer umount "$DIR/card"
	cp -a "$CLUSTER/pi1/data/." "$DIR/card/"
	mount -o remount,ro "$DIR/card"
	sed -i "1i data = \"$DIR/card\"" "$CLUSTER/pi1/chunkserver.toml"
	expect_error "read-only" "$ROZOBOX" chunkserver --config "$CLUSTER/pi1/chunkserver.toml"
}

full_disk() {
	mkdir "$DIR/tiny"
	mount -t tmpfs -o size=64k tiny "$DIR/tiny"
	defer umount "$DIR/tiny"
	head -c 64k /dev/zero >"$DIR/tiny/ballast"
	sed -i "s|^data = .*|data = \"$DIR/tiny/data\"|" "$CLUSTER/pi1/chunkserver.toml"
	expect_error "space" "$ROZOBOX" chunkserver --config "$CLUSTER/pi1/chunkserver.toml"
}

need_root "mounts small disks"
begin
cluster_init
small_cards
start_nodes
start_gateway
wait_for 30 "the gateway answers" "$ROZOBOX" status --config "$GATEWAY_TOML"
volume_create
wait_served
fill
read_back 0
discard_makes_room
read_only_disk
full_disk
