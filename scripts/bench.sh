#!/usr/bin/env bash
# Measures a local cluster of 8 chunk servers and a gateway by fio's nbd engine,
# and nbdkit's memory plugin beside it in the same run: what the protocol and the
# client cost anyway. Prints one table, and CPU seconds and peak memory of each
# process. Everything runs on this machine, so all of it shares its cores.
#
# Below that it prints what the machine can do at most, in the same run: what the
# transport carries between as many processes, of which a volume needs 1.5 bytes for
# each byte written, and six operations for each small write; and how often a second six
# files can be synced, which is what a flushed write takes of the disk (scripts/rawload).
#
#   scripts/bench.sh --failures ...    what failures cost: see bench-failures.sh
#   scripts/bench.sh --compare REV ... this tree against another: see bench-compare.sh
#   scripts/bench.sh [--time SECONDS] [--size SIZE] [--block-size SIZE]... [--only WORKLOAD]...
#
#   --time        seconds for each workload (10)
#   --size        of the volume (512MiB); the working set of every workload
#   --block-size  of the volume; given several times, each is measured in turn (32KiB)
#   --only        of seq-write, seq-read, rand-write, rand-read, sync-write, read-1
source "$(dirname "${BASH_SOURCE[0]}")/e2e/lib.sh"

TIME=10
SIZE=512MiB
BLOCK_SIZES=()
ONLY=()
# name, fio's options
WORKLOADS=(
	"seq-write  --rw=write --bs=1m --iodepth=16"
	"seq-read   --rw=read --bs=1m --iodepth=16"
	"rand-write --rw=randwrite --bs=4k --iodepth=32"
	"rand-read  --rw=randread --bs=4k --iodepth=32"
	"sync-write --rw=randwrite --bs=4k --iodepth=1 --fsync=1"
	"read-1     --rw=randread --bs=4k --iodepth=1"
)

parse_options() {
	while (($#)); do
		[[ $# -ge 2 && -n $2 ]] || fail "option $1: a value is missing; see the top of $0"
		case $1 in
		--time) TIME=$2 ;;
		--size) SIZE=$2 ;;
		--block-size) BLOCK_SIZES+=("$2") ;;
		--only) ONLY+=("$2") ;;
		*) fail "option $1 is unknown; see the top of $0" ;;
		esac
		shift 2
	done
	((${#BLOCK_SIZES[@]})) || BLOCK_SIZES=(32KiB)
}

wanted() { ((${#ONLY[@]} == 0)) || [[ " ${ONLY[*]} " == *" $1 "* ]]; }

# busy: what all processes of this machine have used of its cores by now, in ticks.
busy() { awk '/^cpu / { print $2 + $3 + $4 + $7 + $8 }' /proc/stat; }

# measure NAME URI OPTION...: "MB/s IOPS mean-latency-in-us p99-in-us CPU-in-us", of
# reads and writes together, as one of them is nothing. The latencies are of these
# alone: what a flush takes shows in the IOPS of sync-write. The CPU time is that of
# the whole machine for each of them, and so fio's too.
measure() {
	local name=$1 uri=$2 before
	shift 2
	before=$(busy)
	fio --name="$name" --ioengine=nbd --uri="$uri" --size="${SIZE%iB}" --time_based --runtime="$TIME" \
		--randrepeat=0 --minimal --terse-version=3 "$@" >"$DIR/fio.out" 2>"$DIR/fio.log" ||
		fail "fio: $(<"$DIR/fio.log")"
	# Terse format 3: read bandwidth (KiB/s), IOPS, latency and 99 % are fields 7, 8, 40 and 30; those of
	# writes 41 later. A percentile is "99.000000%=VALUE".
	awk -F ';' -v us="$((($(busy) - before) * 1000000 / $(getconf CLK_TCK) / TIME))" '
		$1 == 3 { sub(/.*=/, "", $30); sub(/.*=/, "", $71); n = $8 + $49
		printf "%.1f %.0f %.0f %.0f %.0f\n", ($7 + $48) * 1.024 / 1000, n, $40 + $81, $30 + $71, n ? us / n : 0 }' "$DIR/fio.out"
}

# run_all SERVER URI: every workload; results go to $DIR/result.SERVER.
run_all() {
	local server=$1 uri=$2 line name options
	: >"$DIR/result.$server"
	fio --name=fill --ioengine=nbd --uri="$uri" --size="${SIZE%iB}" --rw=write --bs=1m --iodepth=16 \
		>"$DIR/fio.log" 2>&1 || fail "fio: $(<"$DIR/fio.log")" # nothing that is read is a hole
	for line in "${WORKLOADS[@]}"; do
		read -r name options <<<"$line"
		wanted "$name" || continue
		# shellcheck disable=SC2086 # options are several words
		echo "$name $(measure "$name" "$uri" $options)" >>"$DIR/result.$server"
	done
}

# used NAME: CPU seconds and peak memory in MiB of a process under test.
used() {
	local pid
	pid=$(<"$DIR/$1.pid")
	awk -v hz="$(getconf CLK_TCK)" -v name="$1" '
		FILENAME ~ /stat$/ { cpu = ($14 + $15) / hz }
		/^VmHWM/ { printf "%-14s %8.1f CPU s %8.0f MiB at most\n", name, cpu, $2 / 1024 }
	' "/proc/$pid/stat" "/proc/$pid/status"
}

print_table() {
	printf '\n%-11s | %7s %7s %7s %7s %7s | %7s %7s %7s %7s %7s | %s\n' "block $1" \
		'MB/s' IOPS 'mean us' 'p99 us' 'CPU us' nbdkit IOPS 'mean us' 'p99 us' 'CPU us' ratio
	join "$DIR/result.rozobox" "$DIR/result.nbdkit" --nocheck-order |
		awk '{ printf "%-11s | %7s %7s %7s %7s %7s | %7s %7s %7s %7s %7s | %.2f\n",
			$1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $8 ? $3 / $8 : 0 }'
}

# result NAME COLUMN: of rozobox: 2 is MB/s, 3 IOPS.
result() { awk -v name="$1" -v column="$2" '$1 == name { print $column }' "$DIR/result.rozobox"; }

# share NAME COLUMN UNIT COMMAND...: how much a workload has used of the limit that the
# command prints; nothing where it was not wanted.
share() {
	local name=$1 column=$2 unit=$3
	wanted "$name" || return 0
	awk -v name="$name" -v got="$(result "$name" "$column")" -v most="$("${@:4}")" -v unit="$unit" 'BEGIN {
		printf "%-11s %.0f %% of the %.0f %s that this machine can do\n", name, 100 * got / most, most, unit }'
}

# carried VERB N: MB/s, or writes a second, between a client and eight nodes that keep
# nothing, where so many are needed for one.
carried() {
	"$RAWLOAD" --transport "$TRANSPORT" --seconds "$TIME" "$1" "$CLUSTER" "${SINKS[@]}" |
		awk -v n="$2" '{ print $1 / n }'
}

# limits comes when the nodes have stopped: others take their places.
limits() {
	local i
	RAWLOAD=$DIR/rawload SINKS=()
	(cd "$ROOT" && go build -o "$RAWLOAD" ./scripts/rawload)
	for i in "${!NODES[@]}"; do
		SINKS+=("${NODES[i]}=127.0.0.1:$((PORT + 2 + i))")
		launch "${NODES[i]}" "$RAWLOAD" --transport "$TRANSPORT" serve "$CLUSTER" "${SINKS[i]}"
	done
	TIME=1 wait_for 20 "nodes that keep nothing answer" carried read 1
	share seq-write 2 MB/s carried write 1.5
	share seq-read 2 MB/s carried read 1
	share rand-write 3 "a second" carried rewrite 1
	for i in "${NODES[@]}"; do stop "$i"; done
	share sync-write 3 "a second" "$RAWLOAD" --seconds "$TIME" sync "$DIR"
}

bench_nbdkit() {
	free_ports 1
	launch nbdkit nbdkit --foreground --port "$PORT" memory "${SIZE%iB}"
	wait_for 10 "nbdkit serves" nbdinfo --size "nbd://127.0.0.1:$PORT"
	run_all nbdkit "nbd://127.0.0.1:$PORT"
}

bench_rozobox() {
	local node
	VOLUME_OPTIONS=(--block-size "$1")
	cluster_new
	run_all rozobox "$URI"
	print_table "$1"
	echo
	for node in gateway "${NODES[@]}" nbdkit; do used "$node"; done
	stop gateway
	for node in "${NODES[@]}"; do stop "$node"; done
	echo
	limits
	rm -r "$CLUSTER"
}

main() {
	local block_size
	parse_options "$@"
	begin
	printf '%s, %s cores, %s; %s s each, %s; %s\n' "$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
		"$(nproc)" "$(uname -sr)" "$TIME" "$SIZE" "$(fio --version)"
	bench_nbdkit
	for block_size in "${BLOCK_SIZES[@]}"; do bench_rozobox "$block_size"; done
}

case ${1:-} in
--failures) exec "$ROOT/scripts/bench-failures.sh" "${@:2}" ;;
--compare) source "$ROOT/scripts/bench-compare.sh" ;;
*) main "$@" ;;
esac
