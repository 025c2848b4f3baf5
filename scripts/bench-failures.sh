#!/usr/bin/env bash
# What clients feel when nodes fail: on a local cluster of 8 chunk servers, a
# sequential reader at the pace of a film and a writer that syncs each block run
# while one node, then two, are killed and, apart from that, frozen. Prints the
# longest pause of each, and throughput before, during and after; then how fast a
# node is resynced, lost chunks are rebuilt onto spares, and a blank card filled,
# in MB/s of chunks and in percent of what the transport alone brings from one
# process to another here (go test -bench, in the same run).
#
#   scripts/bench.sh --failures [--time SECONDS] [--rate RATE] [--size SIZE]
#
#   --time  seconds of each phase: before, during (the nodes fail after a quarter
#           of it), after (the nodes are back, and are resynced) (8)
#   --rate  of the reader, a second (8m)
#   --size  of the volume, all of it written; the reader and the writer have half
#           of it each (512MiB)
source "$(dirname "${BASH_SOURCE[0]}")/e2e/lib.sh"

TIME=8
RATE=8m
SIZE=512MiB

parse_options() {
	while (($#)); do
		[[ $# -ge 2 && -n $2 ]] || fail "option $1: a value is missing; see the top of $0"
		case $1 in
		--time) TIME=$2 ;;
		--rate) RATE=$2 ;;
		--size) SIZE=$2 ;;
		*) fail "option $1 is unknown; see the top of $0" ;;
		esac
		shift 2
	done
	[[ $TIME =~ ^[0-9]+$ && $TIME -ge 4 ]] || fail "option --time $TIME: want at least 4 seconds"
	HALF=$(($(numfmt --from=iec-i --suffix=B "$SIZE" | tr -d B) / 2))
}

healthy() { "$ROZOBOX" status --config "$GATEWAY_TOML"; }

wait_healthy() { wait_for 300 "all nodes are in" healthy; }

# load PHASE: both clients, side by side; fio's JSON goes to $DIR/PHASE.json.
load() {
	fio --output-format=json --output="$DIR/$1.json" --ioengine=nbd --uri="$URI" \
		--time_based --runtime="$TIME" --randrepeat=0 --iodepth=1 --size="$HALF" \
		--name=reader --rw=read --bs=64k --rate="$RATE" \
		--name=writer --rw=randwrite --bs=4k --offset="$HALF" --fsync=1 >"$DIR/fio.log" 2>&1 ||
		fail "fio: $(<"$DIR/fio.log")"
}

# figures PHASE: "reader's MB/s, its longest pause in ms, writer's writes a second,
# its longest pause in ms", of a write and of a sync. fio prints one key a line.
figures() {
	awk '
		/^ *"jobname"/ { job = $3; gsub(/[",]/, "", job) }
		/^ *"(read|write|trim|sync)" : \{/ { part = $1; gsub(/"/, "", part) }
		/^ *"(slat|clat|lat)_ns" : \{/ { kind = $1; gsub(/"/, "", kind) }
		/^ *"bw_bytes"/ { bytes[job, part] = $3 + 0 }
		/^ *"iops" / { iops[job, part] = $3 + 0 }
		/^ *"max" :/ && (kind == "clat_ns" || part == "sync" && kind == "lat_ns") {
			if ($3 + 0 > pause[job]) pause[job] = $3 + 0
			kind = ""
		}
		END { printf "%.1f %.0f %.0f %.0f\n", bytes["reader", "read"] / 1e6, pause["reader"] / 1e6,
			iops["writer", "write"], pause["writer"] / 1e6 }' "$DIR/$1.json"
}

kill_fail() { crash "$1"; }
kill_return() { start_node "$1"; }
freeze_fail() { kill -STOP "$(<"$DIR/$1.pid")"; }
freeze_return() { kill -CONT "$(<"$DIR/$1.pid")"; }

# each FUNCTION NODE...: for all of them at once.
each() {
	local function=$1 node pids=()
	shift
	for node; do
		"$function" "$node" &
		pids+=($!)
	done
	wait "${pids[@]}"
}

# fail_under_load HOW NODE...: one line of the table.
fail_under_load() {
	local how=$1 loading r p w q
	shift
	load before
	load during &
	loading=$!
	sleep "$(awk -v t="$TIME" 'BEGIN { print t / 4 }')"
	each "${how}_fail" "$@"
	wait "$loading"
	each "${how}_return" "$@"
	load after
	wait_healthy
	printf '%-6s %d |' "$how" $#
	for phase in before during after; do
		read -r r p w q < <(figures "$phase")
		printf ' %6s %6s %6s %6s |' "$r" "$p" "$w" "$q"
	done
	echo
}

# said TEXT: how often the gateway has logged it.
said() { grep -c "\"msg\":\"$1\"" "$DIR/gateway.log" || true; }
says_again() { (($(said "$1") > $2)); }

# measure_network sets $NETWORK, the MB/s of requests of 4 MiB over QUIC between two ends
# that do nothing else.
measure_network() {
	NETWORK=$(cd "$ROOT" && go test -run '^$' -bench '^Benchmark$/^quic$/^write$/^8x512K$' -benchtime 3s ./pkg/chunkrpc |
		awk '{ for (i = 2; i <= NF; i++) if ($i == "MB/s") print $(i - 1) }')
	[[ -n $NETWORK ]] || fail "the benchmark of the transport printed no MB/s"
	printf 'the transport alone: %s MB/s\n' "$NETWORK"
}

# measure_repair WHAT TEXT CMD...: how fast the repair is that CMD leads to. The
# log says bytes, and nanoseconds.
measure_repair() {
	local what=$1 text=$2 before
	before=$(said "$text")
	shift 2
	"$@"
	wait_for 600 "$text" says_again "$text" "$before"
	grep "\"msg\":\"$text\"" "$DIR/gateway.log" | tail -n 1 |
		sed 's/.*"blocks":\([0-9]*\),"bytes":\([0-9]*\),"took":\([0-9]*\).*/\1 \2 \3/' |
		awk -v what="$what" -v network="$NETWORK" '{ printf "%-28s %6d blocks, %7.1f MB in %6.1f s: %6.1f MB/s, %.0f %%\n",
			what, $1, $2 / 1e6, $3 / 1e9, $2 * 1e3 / $3, $2 * 1e5 / $3 / network }'
}

fill() {
	fio --name=fill --ioengine=nbd --uri="$URI" --size="$1" --rw=write --bs=1m --iodepth=16 \
		>"$DIR/fio.log" 2>&1 || fail "fio: $(<"$DIR/fio.log")"
}

blank_card() {
	crash pi3
	rm -r "${CLUSTER:?}/pi3/data"
	start_node pi3
}

# measure_repairs has nothing else going on: what repair can do at most.
measure_repairs() {
	crash pi3
	fill "$HALF"
	measure_repair "resync of half the volume" "node is resynced" start_node pi3
	wait_healthy
	measure_repair "resync of a blank card" "node is resynced" blank_card
	wait_healthy
	stop gateway
	sed -i '1i rebuild_after = "1s"' "$GATEWAY_TOML"
	start_gateway
	wait_served
	measure_repair "rebuild of a node on spares" "rebuilt onto spares" crash pi3
}

main() {
	parse_options "$@"
	begin
	printf '%s, %s cores, %s; %s s each, reader %s a second, %s; %s\n' \
		"$(sed -n 's/^model name.*: //p' /proc/cpuinfo | head -n 1)" \
		"$(nproc)" "$(uname -sr)" "$TIME" "$RATE" "$SIZE" "$(fio --version)"
	cluster_new
	fill "$((2 * HALF))"
	printf '         | %27s | %27s | %27s |\n' before during after
	printf 'nodes    |'
	printf ' %6s %6s %6s %6s |' MB/s ms IOPS ms MB/s ms IOPS ms MB/s ms IOPS ms
	echo
	for how in kill freeze; do
		fail_under_load "$how" pi3
		fail_under_load "$how" pi3 pi6
	done
	measure_network
	measure_repairs
}

main "$@"
