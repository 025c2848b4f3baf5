#!/usr/bin/env bash
# How much of the network a cluster of cards uses: 8 chunk servers and a gateway,
# each in a network namespace with one link to a bridge, of the speed that a card
# or a gateway has, in each direction (tbf). A client in the gateway's namespace
# reads and writes one stream, first with all nodes in, then with two killed.
#
#	pi1 ──100 Mbit/s── ┐
#	 ...               ├─ bridge ──1 Gbit/s── gateway ── fio
#	pi8 ──100 Mbit/s── ┘
#
# The limit that is printed is that of the links: to read a byte moves a byte, and
# to write one moves (k+m)/k; it goes over the cards that are there, together, and
# over the gateway's link. All processes share this machine's cores: where it has
# no idle time left, it is the limit, and smaller rates tell more.
#
#   scripts/bench-cards.sh [--rate RATE] [--gateway RATE] [--slow RATE] [--bs SIZE] [--depth N]
#                          [--time SECONDS] [--size SIZE]
#
#   --rate     of a card, as of tc (100mbit)
#   --gateway  of the gateway (1gbit)
#   --slow     of one card, the first; the limit is still that of equal ones
#   --bs, --depth  of the client's requests (1m, 16); smaller with smaller rates
#   --time     seconds for each workload, 2 before it not counted (10)
#   --size     of the volume (512MiB)
source "$(dirname "${BASH_SOURCE[0]}")/e2e/lib.sh"

RATE=100mbit
GATEWAY_RATE=1gbit
SLOW=
BS=1m
DEPTH=16
TIME=10
SIZE=512MiB
PREFIX=rozobox-$$ # of the namespaces
PORT=4700         # of every chunk server; each has an address of its own

parse_options() {
	while (($#)); do
		[[ $# -ge 2 && -n $2 ]] || fail "option $1: a value is missing; see the top of $0"
		case $1 in
		--rate) RATE=$2 ;;
		--gateway) GATEWAY_RATE=$2 ;;
		--slow) SLOW=$2 ;;
		--bs) BS=$2 ;;
		--depth) DEPTH=$2 ;;
		--time) TIME=$2 ;;
		--size) SIZE=$2 ;;
		*) fail "option $1 is unknown; see the top of $0" ;;
		esac
		shift 2
	done
}

# in_space NAME CMD...
in_space() { ip netns exec "$PREFIX-$1" "${@:2}"; }

make_space() {
	ip netns add "$PREFIX-$1"
	defer ip netns delete "$PREFIX-$1"
	in_space "$1" ip link set lo up
}

# shape SPACE LINK RATE: packets are lost when so many wait as take QUEUE, 256 KiB
# at 100 Mbit/s, as in a switch.
QUEUE=20ms
shape() { in_space "$1" tc qdisc add dev "$2" root tbf rate "$3" burst 32kb latency "$QUEUE"; }

# plug NAME ADDRESS RATE: a namespace with a link to the bridge.
plug() {
	make_space "$1"
	in_space switch ip link add "$1" type veth peer name eth0 netns "$PREFIX-$1"
	in_space switch ip link set "$1" master bridge up
	in_space "$1" ip address add "$2/24" dev eth0
	in_space "$1" ip link set eth0 up
	shape switch "$1" "$3"
	shape "$1" eth0 "$3"
}

build_network() {
	local i
	make_space switch
	in_space switch ip link add bridge type bridge
	in_space switch ip link set bridge up
	plug gateway 10.47.0.100 "$GATEWAY_RATE"
	for i in "${!NODES[@]}"; do plug "${NODES[i]}" "10.47.0.$((i + 1))" "$(rate_of "$i")"; done
}

rate_of() { if (($1 == 0)) && [[ -n $SLOW ]]; then echo "$SLOW"; else echo "$RATE"; fi; }

build_cluster() {
	local i args=()
	for i in "${!NODES[@]}"; do args+=(--node "${NODES[i]}=10.47.0.$((i + 1)):$PORT"); done
	export CLUSTER=$DIR/cluster GATEWAY_TOML=$DIR/cluster/gateway/gateway.toml
	URI=nbd://127.0.0.1:10809/$VOLUME
	"$ROZOBOX" init --dir "$CLUSTER" --name e2e --transport "$TRANSPORT" "${args[@]}" >/dev/null
	for i in "${NODES[@]}"; do
		launch "$i" ip netns exec "$PREFIX-$i" "$ROZOBOX" chunkserver --config "$CLUSTER/$i/chunkserver.toml"
	done
	launch gateway ip netns exec "$PREFIX-gateway" "$ROZOBOX" gateway --config "$GATEWAY_TOML"
	wait_for 30 "the gateway answers" in_space gateway "$ROZOBOX" status --config "$GATEWAY_TOML"
	in_space gateway "$ROZOBOX" volume create --config "$GATEWAY_TOML" "$VOLUME" --size "$SIZE" >/dev/null
	wait_for 60 "volume $VOLUME is served" in_space gateway nbdinfo --size "$URI"
}

# load NAME OPTION...: MB/s of one stream.
load() {
	in_space gateway fio --name="$1" --ioengine=nbd --uri="$URI" --size="${SIZE%iB}" --bs="$BS" --iodepth="$DEPTH" \
		--minimal --terse-version=3 "${@:2}" >"$DIR/fio.out" 2>"$DIR/fio.log" || fail "fio: $(<"$DIR/fio.log")"
	awk -F ';' '$1 == 3 { print ($7 + $48) * 1.024 / 1000 }' "$DIR/fio.out"
}

bits() { numfmt --from=si "$(sed 's/bit$//; s/./\U&/g' <<<"$1")"; }

# idle: jiffies of all cores without work, and all.
idle() { awk '/^cpu / { print $5 + $6, $2 + $3 + $4 + $5 + $6 + $7 + $8 + $9 }' /proc/stat; }

# measure WHAT CARDS FIO-RW: one line.
measure() {
	local before after got
	before=$(idle)
	got=$(load "$3" --rw="$3" --time_based --runtime="$TIME" --ramp_time=2)
	after=$(idle)
	awk -v what="$1" -v rw="$3" -v got="$got" -v cards="$(($2 * $(bits "$RATE")))" -v gateway="$(bits "$GATEWAY_RATE")" \
		-v before="$before" -v after="$after" '
		BEGIN {
			limit = (cards < gateway ? cards : gateway) / 8e6 / (rw == "write" ? 6 / 4 : 1)
			split(before, b); split(after, a)
			printf "%-9s %-5s %7.1f MB/s of %6.1f: %3.0f %%; the machine was idle for %.0f %%\n", what, rw, got, limit,
				100 * got / limit, 100 * (a[1] - b[1]) / (a[2] - b[2])
		}'
}

main() {
	parse_options "$@"
	need_root "it makes network namespaces"
	begin
	build_network
	build_cluster
	load fill --rw=write >/dev/null
	printf '%s a card, %s the gateway%s; %s, 4+2, %s s each\n' "$RATE" "$GATEWAY_RATE" "${SLOW:+, one card $SLOW}" \
		"$TRANSPORT" "$TIME"
	measure "all in" 8 read
	measure "all in" 8 write
	crash pi3
	crash pi6
	measure "two gone" 6 write
	measure "two gone" 6 read
}

main "$@"
