#!/usr/bin/env bash
# ext4 through nbdfuse and a loop device: a source tree is unpacked, compared, the
# file system checked. Then everything is killed while files are written; ext4's
# journal makes it whole again, and files that were synced are there.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
source "$(dirname "${BASH_SOURCE[0]}")/loop.sh"

source_tree() {
	mkdir "$DIR/tree"
	cp -r "$(go env GOROOT)/src/net" "$DIR/tree/net"
	cp -r "$ROOT/pkg" "$ROOT/scripts" "$DIR/tree/"
}

unpack_and_compare() {
	mkfs.ext4 -q "$LOOP"
	mount "$LOOP" "$DIR/mnt"
	tar -C "$DIR/tree" -c . | tar -C "$DIR/mnt" -x
	sync -f "$DIR/mnt"
	echo 3 >/proc/sys/vm/drop_caches
	diff -r -x lost+found "$DIR/tree" "$DIR/mnt" || fail "the trees differ"
	umount "$DIR/mnt"
	check_clean
}

# write_synced writes files of 256 KiB, and notes each once it is synced. The
# file system goes away below it: it ends with the first error.
write_synced() {
	local i
	for i in {1..10000}; do
		head -c 256k /dev/urandom >"$DIR/file" || return 0
		dd if="$DIR/file" of="$DIR/mnt/synced-$((i % 400))" bs=256k conv=fsync 2>/dev/null || return 0
		sha256sum <"$DIR/file" | sed "s|-\$|synced-$((i % 400))|" >>"$DIR/noted"
	done
}

enough_noted() { (($(wc -l <"$DIR/noted") >= 30)); }

crash_and_check() {
	local writer
	mount "$LOOP" "$DIR/mnt"
	touch "$DIR/noted"
	write_synced &
	writer=$!
	wait_for 30 "30 files are synced" enough_noted
	crash_all
	wait "$writer" || true
	detach_loop 2>/dev/null
	start_all
	wait_served
	attach_loop
	mount "$LOOP" "$DIR/mnt" # plays the journal back
	(cd "$DIR/mnt" && sha256sum --quiet -c "$DIR/noted") || fail "a synced file is not as it was written"
	umount "$DIR/mnt"
	check_clean
	say "$(wc -l <"$DIR/noted") synced files survived"
}

need_root "mounts a file system"
begin
defer detach_loop
source_tree
serve
attach_loop
unpack_and_compare
[[ ${E2E_SERVER:-rozobox} != rozobox ]] || crash_and_check
