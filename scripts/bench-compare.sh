# shellcheck shell=bash
# Sourced by bench.sh: whether this tree is faster than REV, a revision of it.
# The Go benchmarks of both run in turns, for benchstat; then the workloads of
# bench.sh, also in turns, for medians and ratios. What the machine does beside it
# is felt by both.
#
#   scripts/bench.sh --compare REV [--runs N] [--bench REGEXP] [--time SECONDS] [--size SIZE] [--only WORKLOAD]...
#
#   --runs   of each side (5)
#   --bench  which Go benchmarks, "-" for none (all that take no gigabytes)
#   --time   seconds for each workload, 0 for no workloads (10)
#   --size, --only  as of bench.sh

RUNS=5
BENCH=.

compare_options() {
	local rest=()
	[[ $# -ge 2 && -n $2 ]] || fail "option --compare: a revision is missing"
	REV=$2
	shift 2
	while (($#)); do
		case $1 in
		--runs) RUNS=${2:-} ;;
		--bench) BENCH=${2:-} ;;
		*) rest+=("$1" "${2:-}") ;;
		esac
		shift "$(($# > 1 ? 2 : 1))"
	done
	parse_options "${rest[@]}"
}

# benchmarked: the packages that have benchmarks, one a line.
benchmarked() { (cd "$1" && grep -rl --include='*_test.go' '^func Benchmark' pkg | xargs -n 1 dirname | sort -u); }

# build_side SIDE TREE
build_side() {
	local package
	(cd "$2" && CGO_ENABLED=0 go build -o "$DIR/$1/rozobox" ./cmd/rozobox)
	[[ $BENCH != - ]] || return 0
	for package in $(benchmarked "$2"); do
		(cd "$2" && go test -c -o "$DIR/$1/$package.test" "./$package")
	done
}

# go_benchmarks SIDE TREE
go_benchmarks() {
	local package
	for package in $(benchmarked "$2"); do
		(cd "$2/$package" && "$DIR/$1/$package.test" -test.run - -test.short -test.bench "$BENCH" \
			-test.benchtime 100ms -test.benchmem) >>"$DIR/$1.txt" 2>&1 ||
			fail "benchmarks of $package, $1: $(tail -n 3 "$DIR/$1.txt")"
	done
}

# workloads SIDE TREE RUN
workloads() {
	local node
	export ROZOBOX=$DIR/$1/rozobox
	cluster_new
	run_all "$1.$3" "$URI"
	stop gateway
	for node in "${NODES[@]}"; do stop "$node"; done
	rm -r "$CLUSTER"
}

# in_turns COMMAND: for each side, again and again.
in_turns() {
	local run
	for ((run = 1; run <= RUNS; run++)); do
		"$1" old "$DIR/tree" "$run"
		"$1" new "$ROOT" "$run"
	done
}

# medians SIDE: "workload MB/s IOPS"
medians() {
	local name
	while read -r name _; do
		echo "$name $(median "$1" "$name" 2) $(median "$1" "$name" 3)"
	done <"$DIR/result.$1.1"
}

# median SIDE WORKLOAD FIELD
median() {
	awk -v name="$2" -v field="$3" '$1 == name { print $field }' "$DIR/result.$1".* | sort -n |
		sed -n "$(((RUNS + 1) / 2))p"
}

print_medians() {
	printf '\n%-11s | %9s %8s | %9s %8s | %s\n' "medians" "old MB/s" IOPS "new MB/s" IOPS ratio
	join <(medians old) <(medians new) --nocheck-order |
		awk '{ printf "%-11s | %9s %8s | %9s %8s | %.2f\n", $1, $2, $3, $4, $5, $3 ? $5 / $3 : 0 }'
}

compare() {
	compare_options "$@"
	begin
	git -C "$ROOT" worktree add --quiet --detach "$DIR/tree" "$REV"
	defer git -C "$ROOT" worktree remove --force "$DIR/tree"
	build_side old "$DIR/tree"
	build_side new "$ROOT"
	if [[ $BENCH != - ]]; then
		in_turns go_benchmarks
		(cd "$ROOT" && go tool benchstat "old=$DIR/old.txt" "new=$DIR/new.txt")
	fi
	if ((TIME > 0)); then
		in_turns workloads
		print_medians
	fi
}

compare "$@"
