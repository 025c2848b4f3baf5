#!/usr/bin/env bash
# The one test command: format, vet, staticcheck, shellcheck, all Go tests with the
# race detector, then the end-to-end scripts against real processes and clients.
#
#   scripts/test.sh              everything, below 10 minutes on two cores
#   scripts/test.sh NAME...      only these steps, as it prints them: vet, fio, ...
#
# As root it installs the Debian packages that are missing. Without them, or not
# as root, it leaves out what needs them and says so; with CI=true it fails.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$ROOT"

# What is needed, and the package that has it.
declare -A PACKAGES=(
	[fio]=fio [nbdinfo]=libnbd-bin [nbdfuse]=libnbd-bin [nbdkit]=nbdkit [qemu-io]=qemu-utils
	[nbd-client]=nbd-client [fusermount3]=fuse3 [qemu-system-x86_64]=qemu-system-x86
	[busybox]=busybox-static [mkfs.ext4]=e2fsprogs [losetup]=mount [modprobe]=kmod
	[shellcheck]=shellcheck [gcc]=gcc [chromium]=chromium [node]=nodejs [npm]=npm [tmux]=tmux
)
# The cheap ones first, so that a mistake shows early; those in one string at once.
E2E=(nbdinfo nbdcopy fio tls qemu-io ext4 garbage certificates "web damage full-disk takeover" demo
	"failures kernel crash-nodes crash-gateway crash-all")
SKIPPED_STATUS=77 # of a script that cannot run here, as automake has it

PASSED=0 FAILED=0 SKIPPED=0
FAILURES=()
WANTED=("$@")

missing_packages() {
	local command
	for command in "${!PACKAGES[@]}"; do
		command -v "$command" >/dev/null || echo "${PACKAGES[$command]}"
	done
}

# install_packages: the kernel test needs apt's lists too.
install_packages() {
	local missing
	mapfile -t missing < <(missing_packages)
	if ((${#missing[@]} == 0)) && apt-cache show linux-image-cloud-amd64 >/dev/null 2>&1; then return 0; fi
	if ((EUID != 0)); then
		echo "missing, and not root to install them: ${missing[*]}"
		return "$SKIPPED_STATUS"
	fi
	apt-get update -qq
	((${#missing[@]} == 0)) ||
		DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

formatted() {
	local bad
	bad=$(git ls-files '*.go' | xargs gofmt -l)
	[[ -z $bad ]] || { echo "gofmt would change: $bad" && return 1; }
}

# with_packages CMD...: run it, or skip it where its packages are missing.
with_packages() {
	[[ -z $(missing_packages) ]] || return "$SKIPPED_STATUS"
	"$@"
}

shell_checked() { shellcheck -x -P SCRIPTDIR .ci/run scripts/*.sh scripts/e2e/*.sh; }

build() { CGO_ENABLED=0 go build -o "$BIN/rozobox" ./cmd/rozobox && go build -o "$BIN" ./scripts/crashload; }

# simulate: two halves at once, because a simulator keeps one core busy. A
# history over a network takes five times as long as one in memory.
simulate() {
	local status=0
	"$ROZOBOX" simulate --seeds 75 &
	{
		"$ROZOBOX" simulate --seed 76 --seeds 25 &&
			"$ROZOBOX" simulate --over quic --seeds 7 && "$ROZOBOX" simulate --over tls --seeds 5
	} || status=$?
	wait $! && return "$status"
}

# wanted NAME...: any of them.
wanted() {
	local name
	((${#WANTED[@]})) || return 0
	for name in "${WANTED[@]}"; do [[ " $* " == *" $name "* ]] && return 0; done
	return 1
}

# together NAME...: end-to-end scripts at once, which mostly wait, each for leases of
# its own. The output of each comes when it has ended.
together() {
	local name status outcome=0 pids=()
	if (($# == 1)); then
		"scripts/e2e/$1.sh"
		return
	fi
	for name; do
		E2E_LANE=${#pids[@]} "scripts/e2e/$name.sh" >"$BIN/$name.log" 2>&1 &
		pids+=($!)
	done
	for name; do
		status=0
		wait "${pids[0]}" || status=$?
		pids=("${pids[@]:1}")
		printf -- '-- %s: status %d\n' "$name" "$status"
		cat "$BIN/$name.log"
		((outcome != 0 && status == SKIPPED_STATUS)) || outcome=$((status ? status : outcome))
	done
	return "$outcome"
}

# end_to_end NAME...: those that are wanted, as one step.
end_to_end() {
	local name names=()
	for name; do
		if wanted "$name"; then names+=("$name"); fi
	done
	((${#names[@]} == 0)) || step "${names[*]}" with_packages together "${names[@]}"
}

# step NAME CMD...: run it if it is wanted, tell how it went and how long it took.
step() {
	local name=$1 began=$SECONDS status=0
	# shellcheck disable=SC2086 # a step may have several names
	wanted $name || return 0
	shift
	printf '== %s\n' "$name"
	# Not in a condition: there, set -e would not hold inside of CMD.
	set +e
	(set -e && "$@") </dev/null
	status=$?
	set -e
	judge "$name" "$status" $((SECONDS - began))
}

judge() {
	local name=$1 status=$2 seconds=$3
	if ((status == SKIPPED_STATUS)) && [[ ${CI:-} != true ]]; then
		SKIPPED=$((SKIPPED + 1))
		printf '== %s: skipped\n' "$name"
	elif ((status == 0)); then
		PASSED=$((PASSED + 1))
		printf '== %s: passed, %d s\n' "$name" "$seconds"
	else
		FAILED=$((FAILED + 1))
		FAILURES+=("$name")
		printf '== %s: FAILED, %d s\n' "$name" "$seconds"
	fi
}

main() {
	local name
	BIN=$(mktemp -d)
	trap 'rm -rf "$BIN"' EXIT
	export ROZOBOX=$BIN/rozobox CRASHLOAD=$BIN/crashload
	((${#WANTED[@]})) && WANTED+=(packages build)
	step packages install_packages
	step gofmt formatted
	step shellcheck with_packages shell_checked
	step vet go vet ./...
	step staticcheck go tool staticcheck ./...
	step go-test go test -race -p 3 ./... # some of them mostly wait
	step build build
	step simulate simulate
	# shellcheck disable=SC2086 # an entry may be several names
	for name in "${E2E[@]}"; do end_to_end $name; done
	((FAILED == 0)) || printf 'failed: %s\n' "${FAILURES[*]}"
	printf '%d s in all\n' "$SECONDS"
	printf '%d passed, %d failed, %d skipped\n' "$PASSED" "$FAILED" "$SKIPPED"
	((FAILED == 0))
}

main
