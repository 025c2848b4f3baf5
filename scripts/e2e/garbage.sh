#!/usr/bin/env bash
# Garbage to the NBD port, the admin port and the chunk servers' ports costs only
# the connection that sent it.
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# greeting is what a client answers to the server's, and an option header.
greeting() { printf '\0\0\0\3IHAVEOPT'; }

# send PROTOCOL PORT: standard input goes there; the answer does not matter. What
# the other side does not take is read all the same: no broken pipes here.
send() { timeout 1 bash -c "exec 3<>/dev/$1/127.0.0.1/$2 && cat >&3; cat >/dev/null" 2>/dev/null || true; }

nbd_garbage() {
	local i
	for i in {1..10}; do head -c 100k /dev/urandom | send tcp "$NBD_PORT"; done
	{ greeting && head -c 10k /dev/urandom; } | send tcp "$NBD_PORT"
	{ greeting && printf '\0\0\0\7\377\377\377\377'; } | send tcp "$NBD_PORT"    # GO, 4 GiB of data
	{ greeting && printf '\0\0\0\7\0\0\0\6\377\377\377\377\0\0'; } | send tcp "$NBD_PORT" # a name of 4 GiB
	{ greeting && printf '\0\0\0\1\0\0\0\3e2e' && head -c 5k /dev/urandom; } | send tcp "$NBD_PORT"
	# A write of 64 MiB whose client goes away in the middle.
	{ greeting && printf '\0\0\0\1\0\0\0\3e2e\x25\x60\x95\x13\0\0\0\1abcdefgh\0\0\0\0\0\0\0\0\4\0\0\0' &&
		head -c 1M /dev/urandom; } | send tcp "$NBD_PORT"
	head -c 100k /dev/urandom | send tcp "$ADMIN_PORT"
}

# chunk_garbage: what is no QUIC or TLS, and some that begins like it.
chunk_garbage() {
	local i port
	for port in $(seq $((NBD_PORT + 2)) $((NBD_PORT + 9))); do
		if [[ $TRANSPORT == tls ]]; then
			head -c 100k /dev/urandom | send tcp "$port"
			{ printf '\26\3\1\2\0\1\0\1\374' && head -c 1200 /dev/urandom; } | send tcp "$port"
			continue
		fi
		for i in {1..20}; do head -c $((RANDOM % 1400 + 1)) /dev/urandom | send udp "$port"; done
		{ printf '\303\0\0\0\1\10' && head -c 1200 /dev/urandom; } | send udp "$port"
	done
}

nobody_died() {
	local name
	for name in gateway "${NODES[@]}"; do
		running "$name" || fail "$name died"
		! grep -E -q 'panic|goroutine [0-9]' "$DIR/$name.log" || fail "$name panicked"
	done
}

begin
cluster_new
qemu-io -f raw -c "write -P 7 0 1M" -c flush "$URI" >/dev/null
nbd_garbage
chunk_garbage
nobody_died
qemu-io -f raw -c "read -P 7 0 1M" -c "write -P 8 1M 1M" -c flush -c "read -P 8 1M 1M" "$URI" >"$DIR/qemu-io.log"
! grep -q 'failed' "$DIR/qemu-io.log" || fail "$(<"$DIR/qemu-io.log")"
