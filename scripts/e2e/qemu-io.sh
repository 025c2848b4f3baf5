#!/usr/bin/env bash
# qemu-io's patterns: writes with and without FUA at odd places, zeroes, discards,
# and what may not be touched beside them; qemu-img's map of it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# io COMMAND...: qemu-io does them in order; a pattern that differs is a failure.
io() {
	local command args=() out
	for command; do args+=(-c "$command"); done
	out=$(qemu-io -f raw -t none "${args[@]}" "$URI" 2>&1) || fail "qemu-io: $out"
	[[ $out != *"verification failed"* && $out != *rror* ]] || fail "qemu-io: $out"
}

patterns() {
	io "write -P 1 0 1M" "write -P 2 -f 5000 100" "write -P 3 1048000 70000" flush \
		"read -P 1 0 5000" "read -P 2 5000 100" "read -P 1 5100 1042900" "read -P 3 1048000 70000"
	io "write -z -u 65536 65536" "write -z 200000 3" \
		"read -P 1 5100 60436" "read -P 0 64k 64k" "read -P 1 128k 68928" "read -P 0 200000 3" "read -P 1 200003 1000"
	io "write -P 4 2M 1M" "discard 2M 512k" "read -P 0 2M 512k" "read -P 4 2560k 512k" \
		"discard 2700001 40000" "read -P 4 2560k 78561"
	io "write -P 5 8M 4M" "aio_write -P 6 8M 64k" "aio_write -P 7 9M 1M" aio_flush \
		"read -P 6 8M 64k" "read -P 5 8256k 960k" "read -P 7 9M 1M" "read -P 5 10M 2M"
}

# The volume's last bytes, and beyond.
edges() {
	io "write -P 8 268435455 1" "read -P 8 268435455 1" "read -P 0 268431360 4095"
	expect_error "" qemu-io -f raw -c "write -P 9 268435456 512" "$URI"
}

maps() {
	local map
	map=$(qemu-img map -f raw --output=json "$URI")
	[[ $map == *'"start": 65536, "length": 65536, "depth": 0, '*'"zero": true'* ]] ||
		fail "zeroes are not in the map: $map"
}

begin
serve
patterns
edges
[[ ${E2E_SERVER:-rozobox} != rozobox ]] || maps
