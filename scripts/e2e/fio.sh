#!/usr/bin/env bash
# fio verifies random writes of 512 bytes to 1 MiB from four jobs, 32 requests
# deep, with a FLUSH after every 16th.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

begin
serve
fio --name=verify --ioengine=nbd --uri="$URI" --rw=randwrite --bsrange=512-1m --blockalign=512 \
	--iodepth=32 --fsync=16 --numjobs=4 --size=48m --offset_increment=64m \
	--verify=crc32c --verify_fatal=1 --verify_state_save=0 --do_verify=1 --random_generator=lfsr --randseed="${SEED:-$RANDOM}" \
	--group_reporting --output="$DIR/fio.log" || fail "fio: $(tail -n 5 "$DIR/fio.log")"
grep -q 'err= 0' "$DIR/fio.log" || fail "fio: $(grep 'err=' "$DIR/fio.log")"
