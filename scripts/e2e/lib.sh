# shellcheck shell=bash
# shellcheck disable=SC2034 # scripts that source this read its variables
# Sourced by every end-to-end script. It gives each a folder of its own in $DIR,
# and starts and stops the processes under test. Whatever was started or mounted
# is gone when the script ends, however it ends; when it failed, the ends of all
# logs are shown.
#
#   begin                      make $DIR and $ROZOBOX; must come first
#   defer CMD...               run CMD when the script ends, last in first out
#   launch NAME CMD...         start CMD, its output in $DIR/NAME.log
#   stop NAME, crash NAME      end it by SIGTERM or SIGKILL, and wait for it
#   wait_for SECONDS WHAT CMD  until CMD succeeds, or fail
#   expect_error TEXT CMD...   CMD must fail and say TEXT
#   cluster_new                8 chunk servers, a gateway, volume $VOLUME at $URI;
#                              $E2E_TRANSPORT between them, quic or tls
#   start_node, start_gateway  start one again
#   crashload, hook            see scripts/crashload
#   need_root WHY              end, as skipped, where this is not root
#   serve                      the server that $E2E_SERVER names, at $URI
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/rozobox
NODES=(pi1 pi2 pi3 pi4 pi5 pi6 pi7 pi8)
VOLUME=e2e
SIZE=${SIZE:-256MiB} # of the volume
VOLUME_OPTIONS=()    # for rozobox volume create
CLEANUPS=()

say() { printf '   %s\n' "$*"; }

fail() {
	printf 'FAILED: %s\n' "$*" >&2
	exit 1
}

begin() {
	DIR=$(mktemp -d "${TMPDIR:-/tmp}/rozobox-e2e.XXXXXX")
	export DIR # for hooks
	trap finish EXIT
	trap 'exit 130' INT TERM HUP
	build
}

# build makes $ROZOBOX, unless the caller (test.sh) has.
build() {
	[[ -n ${ROZOBOX:-} ]] && return
	export ROZOBOX=$DIR/rozobox
	(cd "$ROOT" && CGO_ENABLED=0 go build -o "$ROZOBOX" ./cmd/rozobox)
}

defer() { CLEANUPS+=("$(printf '%q ' "$@")"); }

finish() {
	local status=$? i
	trap - EXIT INT TERM HUP
	set +e
	((status == 0 || status == 77)) || { printf "FAILED: %s, status %d\n" "$0" "$status" && show_logs; } >&2
	for ((i = ${#CLEANUPS[@]} - 1; i >= 0; i--)); do eval "${CLEANUPS[i]}" >&2; done
	for i in "$DIR"/*.pid; do crash "$(basename "$i" .pid)"; done
	rm -rf --one-file-system "$DIR"
	exit "$status"
}

# show_logs leaves out what is no trouble; E2E_VERBOSE=1 shows all of it.
show_logs() {
	local log text
	for log in "$DIR"/*.log; do
		[[ -e $log ]] || continue
		text=$(if [[ -n ${E2E_VERBOSE:-} ]]; then cat "$log"; else grep -v '"level":"INFO"' "$log" | tail -n 8; fi)
		[[ -z $text ]] || printf -- '--- %s\n%s\n' "${log##*/}" "$(cut -c 1-400 <<<"$text")" >&2
	done
}

# A process is known by the file $DIR/NAME.pid, so that hooks, which run in
# shells of their own, can end and start it too. The shell in between waits for
# it, writes down its exit status, and keeps "Killed" off the terminal.
launch() {
	local name=$1
	shift
	rm -f "$DIR/$name.pid" "$DIR/$name.status"
	(
		trap - EXIT
		exec 2>/dev/null
		"$@" >>"$DIR/$name.log" 2>&1 </dev/null &
		echo $! >"$DIR/$name.pid"
		status=0
		wait $! || status=$?
		echo "$status" >"$DIR/$name.status"
	) &
	disown
	until [[ -s $DIR/$name.pid ]]; do sleep 0.01; done
}

running() { [[ -s $DIR/$1.pid && ! -s $DIR/$1.status ]]; }

# end sends a signal and waits. $STATUS is the exit status.
end() {
	local signal=$1 name=$2
	[[ -s $DIR/$name.pid ]] || return 0
	kill "-$signal" "$(<"$DIR/$name.pid")" 2>/dev/null || true
	until [[ -s $DIR/$name.status ]]; do sleep 0.02; done
	STATUS=$(<"$DIR/$name.status")
	rm -f "$DIR/$name.pid"
}

stop() { end TERM "$1"; }
crash() { end KILL "$1"; }

wait_for() {
	local seconds=$1 what=$2 deadline
	shift 2
	deadline=$((SECONDS + seconds))
	until "$@" >/dev/null 2>&1; do
		((SECONDS < deadline)) || fail "not after $seconds s: $what"
		sleep 0.1
	done
}

expect_error() {
	local text=$1 out
	shift
	[[ $(type -t "$1") == function ]] || set -- timeout 30 "$@"
	if out=$("$@" 2>&1); then fail "succeeded, but must not: $*"; fi
	[[ $out == *"$text"* ]] || fail "\"$*\" said: $out; want: $text"
	[[ $out != *panic* && $out != *goroutine* ]] || fail "\"$*\" crashed: $out"
}

# port_taken looks at TCP and UDP, IPv4 and IPv6 alike.
port_taken() {
	local hex
	printf -v hex ':%04X ' "$1"
	cat /proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 2>/dev/null | grep -q "$hex"
}

# free_ports sets $PORT to the first of a run of free ports, below those that
# the kernel hands out by itself. Scripts that run at once have $E2E_LANE, 0 to 3,
# and ports of their own: those of a node that was killed stay the script's.
free_ports() {
	local count=$1 try i
	for try in {1..100}; do
		PORT=$((10000 + ${E2E_LANE:-0} * 5000 + RANDOM % 4900))
		for ((i = 0; i < count; i++)); do
			! port_taken $((PORT + i)) || continue 2
		done
		return 0
	done
	fail "no $count free ports in a row after $try tries"
}

TRANSPORT=${E2E_TRANSPORT:-quic} # between the gateway and the nodes

# cluster_init makes the files of a cluster in $DIR/cluster.
cluster_init() {
	local args=() i
	free_ports 10
	NBD_PORT=$PORT ADMIN_PORT=$((PORT + 1))
	for i in "${!NODES[@]}"; do args+=(--node "${NODES[i]}=127.0.0.1:$((PORT + 2 + i))"); done
	export CLUSTER=$DIR/cluster GATEWAY_TOML=$DIR/cluster/gateway/gateway.toml
	URI=nbd://127.0.0.1:$NBD_PORT/$VOLUME
	"$ROZOBOX" init --dir "$CLUSTER" --name e2e --transport "$TRANSPORT" "${args[@]}" \
		--nbd "127.0.0.1:$NBD_PORT" --admin "127.0.0.1:$ADMIN_PORT" >/dev/null
}

start_node() { launch "$1" "$ROZOBOX" chunkserver --config "$CLUSTER/$1/chunkserver.toml"; }

start_gateway() { launch gateway "$ROZOBOX" gateway --config "$GATEWAY_TOML"; }

start_nodes() {
	local node
	for node in "${NODES[@]}"; do running "$node" || start_node "$node"; done
}

# crash_nodes N kills N nodes, drawn by chance, at once.
crash_nodes() {
	local node killers=()
	for node in $(shuf -n "$1" -e "${NODES[@]}"); do
		crash "$node" &
		killers+=($!)
	done
	wait "${killers[@]}"
}

# crash_all pulls the plug of everything at once.
crash_all() {
	crash_nodes ${#NODES[@]} &
	crash gateway
	wait $!
}

start_all() {
	start_nodes
	start_gateway
}

# volume_served: the export answers, so the volume has been opened.
volume_served() { nbdinfo --size "$URI"; }

wait_served() { wait_for 60 "volume $VOLUME is served" volume_served; }

volume_create() {
	"$ROZOBOX" volume create --config "$GATEWAY_TOML" "$VOLUME" --size "$SIZE" "${VOLUME_OPTIONS[@]}" >/dev/null
}

cluster_new() {
	cluster_init
	start_nodes
	start_gateway
	wait_for 30 "the gateway answers" "$ROZOBOX" status --config "$GATEWAY_TOML"
	volume_create
	wait_served
}

# serve offers an empty volume by the server under test. E2E_SERVER=nbdkit puts
# nbdkit in its place: what fails there too is the script's fault.
serve() {
	case ${E2E_SERVER:-rozobox} in
	rozobox) cluster_new ;;
	nbdkit)
		free_ports 1
		NBD_PORT=$PORT URI=nbd://127.0.0.1:$PORT/$VOLUME
		truncate -s "${SIZE%iB}" "$DIR/disk"
		start_nbdkit
		wait_served
		;;
	*) fail "E2E_SERVER=$E2E_SERVER: want rozobox or nbdkit" ;;
	esac
}

start_nbdkit() { launch nbdkit nbdkit --foreground --port "$NBD_PORT" --threads 16 file "$DIR/disk"; }

# crash_server, stop_server and revive_server kill, end and start what clients
# talk to.
crash_server() { if [[ ${E2E_SERVER:-rozobox} == nbdkit ]]; then crash nbdkit; else crash gateway; fi; }
stop_server() { if [[ ${E2E_SERVER:-rozobox} == nbdkit ]]; then stop nbdkit; else stop gateway; fi; }
revive_server() { if [[ ${E2E_SERVER:-rozobox} == nbdkit ]]; then start_nbdkit; else start_gateway; fi; }

# crashload runs scripts/crashload, which lets the shell functions that
# --crash and --revive name work on this script's processes.
crashload() {
	[[ -n ${CRASHLOAD:-} ]] || build_crashload
	"$CRASHLOAD" --server "127.0.0.1:$NBD_PORT" --volume "$VOLUME" "$@"
}

# hook makes a command for crashload of shell functions in this library.
hook() { printf 'source %q && %s' "${BASH_SOURCE[0]}" "$*"; }

build_crashload() {
	CRASHLOAD=$DIR/crashload
	(cd "$ROOT" && go build -o "$CRASHLOAD" ./scripts/crashload)
}

need_root() {
	((EUID == 0)) && return
	say "needs root: $1"
	exit 77 # test.sh: skipped
}
