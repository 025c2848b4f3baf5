#!/usr/bin/env bash
# nbdcopy in and out compares equal, over a restart of everything in between.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# make_image: random data with holes, and an end that is no multiple of a block.
make_image() {
	head -c 40M /dev/urandom >"$DIR/in"
	truncate -s 100M "$DIR/in"
	head -c 5000001 /dev/urandom >>"$DIR/in"
	truncate -s "${SIZE%iB}" "$DIR/in"
}

begin
make_image
serve
nbdcopy --flush "$DIR/in" "$URI"
nbdcopy "$URI" "$DIR/out"
cmp "$DIR/in" "$DIR/out"
if [[ ${E2E_SERVER:-rozobox} == rozobox ]]; then
	stop gateway
	crash_all
	start_all
	wait_served
	nbdcopy "$URI" "$DIR/again"
	cmp "$DIR/in" "$DIR/again"
	nbdinfo --map --totals "$URI" | grep -q zero || fail "holes were not kept as such"
fi
