#!/usr/bin/env bash
# The monitor's web page in a headless browser: its types are checked; it is fed
# with pictures of every kind, hostile ones too; then a real gateway's page shows
# cards at work, one that is killed, and the gateway's own end. SHOTS=FOLDER keeps
# screenshots, to be looked at.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

WEB=$ROOT/scripts/e2e/web

# install_tools does what the lock file says, once for each lock file.
install_tools() {
	[[ $WEB/package-lock.json -ot $WEB/node_modules/.package-lock.json ]] && return
	say "npm ci"
	(cd "$WEB" && npm ci --no-audit --no-fund --loglevel=error >/dev/null)
	touch "$WEB/node_modules/.package-lock.json"
}

check_types() {
	say "types"
	(cd "$WEB" && npx --no-install tsc --checkJs --noEmit -p .)
}

# tests gives the browser a home that goes with the rest.
tests() { HOME=$DIR node --test --test-reporter=dot "$WEB/$1"; }

fed() { : <"/dev/tcp/127.0.0.1/$PORT"; }

start_feed() {
	free_ports 1
	export FEED=http://127.0.0.1:$PORT
	(cd "$ROOT" && go build -o "$DIR/webfeed" ./scripts/webfeed)
	launch webfeed "$DIR/webfeed" "127.0.0.1:$PORT"
	wait_for 10 "the page is served" fed
}

# commands exports what cluster.test.js does to the cluster.
commands() {
	export PAGE=http://127.0.0.1:$ADMIN_PORT NODE=pi3 KILL START KILL_GATEWAY START_GATEWAY LOAD
	KILL=$(hook crash "$NODE")
	START=$(hook start_node "$NODE")
	KILL_GATEWAY=$(hook crash gateway)
	START_GATEWAY=$(hook start_gateway)
	head -c 16M /dev/urandom >"$DIR/in"
	truncate -s "${SIZE%iB}" "$DIR/in"
	LOAD="nbdcopy --flush '$DIR/in' '$URI' && nbdcopy '$URI' null:"
}

begin
install_tools
check_types
start_feed
say "pictures of every kind"
tests page.test.js
cluster_new
commands
say "a real cluster"
tests cluster.test.js
