#!/usr/bin/env bash
# How long a gateway takes from the start of its process to its first answer to
# an NBD client, after a clean stop and after a kill in the middle of writing.
# What a chunk server takes to open a card of a million chunks is measured by
# go test -run - -bench Start ./pkg/chunkstore.
#
#   scripts/bench-start.sh [--runs N] [--size SIZE]
#
#   --runs  of each; all are printed, in order of size (5)
#   --size  of the volume (256MiB)
source "$(dirname "${BASH_SOURCE[0]}")/e2e/lib.sh"

RUNS=5

parse_options() {
	while (($#)); do
		[[ $# -ge 2 && -n $2 ]] || fail "option $1: a value is missing; see the top of $0"
		case $1 in
		--runs) RUNS=$2 ;;
		--size) SIZE=$2 ;;
		*) fail "option $1 is unknown; see the top of $0" ;;
		esac
		shift 2
	done
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# write SECONDS: fio's end is that of its server, or of the time.
write() {
	fio --name=write --ioengine=nbd --uri="$URI" --size="${SIZE%iB}" --rw=randwrite --bs=64k --iodepth=16 \
		--time_based --runtime="$1" >"$DIR/fio.log" 2>&1
}

# restart END: how many milliseconds the gateway that follows one that END has
# ended takes to its first answer, added to $TOOK.
restart() {
	local begun writing
	write 1 &
	writing=$!
	sleep 0.5
	"$1" gateway
	wait "$writing" || true
	begun=$(milliseconds)
	start_gateway
	until volume_served >/dev/null 2>&1; do sleep 0.005; done
	TOOK+=($(($(milliseconds) - begun)))
}

# restarts WHAT END
restarts() {
	TOOK=()
	for ((i = 0; i < RUNS; i++)); do restart "$2"; done
	printf '%-18s %s ms\n' "$1" "$(printf '%s\n' "${TOOK[@]}" | sort -n | paste -sd ' ')"
}

main() {
	parse_options "$@"
	begin
	cluster_new
	write 2 || fail "fio: $(<"$DIR/fio.log")"
	restarts "after a clean stop" stop
	restarts "after a kill" crash
}

main "$@"
