#!/usr/bin/env bash
# Two gateways at once. The second takes the volume over: what the first replied
# to is there, and the first can complete no write any more, not on connections
# that were open all the time either.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# second_gateway starts another gateway of the same cluster, on other ports.
second_gateway() {
	free_ports 2
	SECOND_URI=nbd://127.0.0.1:$PORT/$VOLUME
	cp -r "$CLUSTER/gateway" "$CLUSTER/second"
	sed -i "s/:$NBD_PORT\"/:$PORT\"/; s/:$ADMIN_PORT\"/:$((PORT + 1))\"/" "$CLUSTER/second/gateway.toml"
	launch second "$ROZOBOX" gateway --config "$CLUSTER/second/gateway.toml"
	wait_for 60 "the second gateway serves" nbdinfo --size "$SECOND_URI"
}

write_by() { timeout 30 qemu-io -f raw -t none -c "write -P $2 $3 32k" -c flush "$1" >/dev/null 2>&1; }

reads() { qemu-io -r -f raw -t none -c "read -P $2 $3 32k" "$1" 2>&1 | grep -q "read 32768/32768"; }

# write_on writes pattern after pattern to the first block through the first
# gateway, until that fails, and notes the last that was replied to.
write_on() {
	local i
	for i in {1..100}; do
		write_by "$URI" "$i" 0 || return 0
		echo "$i" >"$DIR/last"
	done
}

begin
cluster_new
# This client holds its connection open over the takeover.
mkfifo "$DIR/commands"
launch client bash -c "qemu-io -f raw -t none '$URI' <'$DIR/commands'"
exec 3>"$DIR/commands"
echo "write -P 200 1M 32k" >&3
wait_for 10 "the open connection can write" grep -q "wrote 32768/32768" "$DIR/client.log"

write_on &
writer=$!
sleep 1
second_gateway
wait "$writer"
last=$(<"$DIR/last")
say "the first gateway replied to $last writes"
reads "$SECOND_URI" "$last" 0 || reads "$SECOND_URI" $((last + 1)) 0 ||
	fail "write $last was replied to, and is gone"
reads "$SECOND_URI" 200 1M || fail "a write by the open connection is gone"

write_by "$SECOND_URI" 250 0 || fail "the second gateway cannot write"
! write_by "$URI" 251 0 || fail "the first gateway completed a write"
echo "write -P 251 1M 32k" >&3
wait_for 30 "the open connection is told no" grep -q "write failed" "$DIR/client.log"
echo "quit" >&3 # not earlier: qemu-io overlooks a line that it has read with another
exec 3>&-
wait_for 30 "the client ends" test -s "$DIR/client.status"
(($(grep -c "wrote 32768/32768" "$DIR/client.log") == 1)) || fail "the open connection completed a write: $(<"$DIR/client.log")"
if ! reads "$SECOND_URI" 250 0 || ! reads "$SECOND_URI" 200 1M; then
	fail "the first gateway changed what the second serves"
fi
