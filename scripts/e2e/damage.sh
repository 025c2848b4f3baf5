#!/usr/bin/env bash
# Files of two of eight cards are damaged while all is down: superblocks, grants,
# segments, checkpoints. A chunk server tells of it or goes without, and never
# crashes; nothing is lost and nothing false is read.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# damage FILE: 64 random bytes somewhere in it, or half of it cut off.
damage() {
	local size
	size=$(stat -c %s "$1")
	((size > 0)) || return 0
	if ((RANDOM % 4 == 0)); then
		truncate -s $((size / 2)) "$1"
	else
		head -c 64 /dev/urandom | dd of="$1" bs=1 seek=$((RANDOM * 32768 % size)) conv=notrunc 2>/dev/null
	fi
}

damage_node() {
	local file
	find "$CLUSTER/$1/data" -type f ! -name lock | shuf -n "$2" | while read -r file; do
		say "damaging $1: ${file#"$CLUSTER/$1/data/"}"
		damage "$file"
	done
}

# serves_or_says_why: it runs, or it ended with an error that is no crash.
serves_or_says_why() {
	! grep -E -q '^panic|^goroutine' "$DIR/$1.log" || fail "$1 crashed"
	running "$1" && return
	[[ $(<"$DIR/$1.status") == 2 ]] || fail "$1 ended with status $(<"$DIR/$1.status")"
	say "$1 says: $(grep '^rozobox:' "$DIR/$1.log" | tail -n 1 | cut -c 1-200)"
}

compare() {
	nbdcopy "$URI" "$DIR/out"
	cmp "$DIR/in" "$DIR/out"
}

begin
cluster_new
head -c 32M /dev/urandom >"$DIR/in"
truncate -s "${SIZE%iB}" "$DIR/in"
nbdcopy --flush "$DIR/in" "$URI"
for round in {1..4}; do
	crash_all
	cp -r "$CLUSTER" "$DIR/kept"
	if ((round == 1)); then
		damage_node pi2 1000 # all that it has
	else
		damage_node pi2 1 && damage_node pi5 1
	fi
	start_all
	wait_served
	compare
	serves_or_says_why pi2 && serves_or_says_why pi5
	crash_all
	rm -r "$CLUSTER" && mv "$DIR/kept" "$CLUSTER" # the next round begins with whole cards
	start_all
	wait_served
	compare
done
