#!/bin/busybox sh
# shellcheck shell=dash
# The first process of the virtual machine that kernel.sh boots. It attaches the
# export that the kernel's command line names, uses it as people would, and says
# on the console what the other side must know: "@@ restart", "@@ passed".
set -eu
/bin/busybox --install -s /bin
export PATH=/bin:/usr/sbin:/sbin

trap 'echo "@@ ended with status $?"; poweroff -f' EXIT

step() { echo "@@ step $(cut -d' ' -f1 /proc/uptime) $*"; }

setup() {
	mkdir -p /proc /sys /dev /mnt /tmp /run
	mount -t proc proc /proc
	mount -t sysfs sys /sys
	mount -t devtmpfs dev /dev
	while read -r module; do insmod "$module"; done </modules/order
	ip link set lo up
	ip link set eth0 up
	ip addr add 10.0.2.15/24 dev eth0
	PORT=$(grep -o 'port=[^ ]*' /proc/cmdline | cut -d= -f2)
	VOLUME=$(grep -o 'volume=[^ ]*' /proc/cmdline | cut -d= -f2)
	RESTARTS=$(grep -o 'restarts=[^ ]*' /proc/cmdline | cut -d= -f2)
}

# wait_for WHAT CMD...: a minute at most.
wait_for() {
	what=$1
	shift
	tries=300
	until "$@"; do
		tries=$((tries - 1))
		[ "$tries" -gt 0 ] || { echo "gave up waiting: $what"; exit 1; }
		usleep 200000
	done
}

has_size() { [ "$(cat /sys/block/nbd0/size)" -gt 0 ]; }

# write_files DIR N: N files of 64 KiB, each synced; the sums go to DIR/sums.
write_files() {
	mkdir "$1"
	i=0
	while [ $i -lt "$2" ]; do
		dd if=/dev/urandom of="$1/$i" bs=64k count=1 conv=fsync 2>/dev/null
		sha256sum "$1/$i" >>"$1/sums"
		i=$((i + 1))
	done
	sync
}

compare() { sha256sum -c "$1/sums" >/dev/null; }

# The tools that everybody has: nbd-client, mkfs, mount, fsck.
nbd_client() {
	step nbd-client
	nbd-client -C 4 -N "$VOLUME" 10.0.2.2 "$PORT" /dev/nbd0
	mkfs.ext4 -q -F /dev/nbd0
	step mounted
	mount -t ext4 /dev/nbd0 /mnt
	write_files /mnt/first 40
	umount /mnt
	step fsck
	e2fsck -fn /dev/nbd0
	mount -t ext4 /dev/nbd0 /mnt
	compare /mnt/first
	umount /mnt
	nbd-client -d /dev/nbd0
}

# rozobox attach, and a server that restarts under a mounted file system:
#
#   here    | write, write,  ..waiting..      write,  ..waiting..     compare, unmount, fsck
#   server  |              X (SIGKILL)  start       X (SIGTERM)  start
rozobox_attach() {
	step rozobox attach
	rozobox attach /dev/nbd0 "$VOLUME" --server 10.0.2.2:1 --server "10.0.2.2:$PORT" \
		--timeout 4s --dead-conn-timeout 60s --block-size 512 2>/tmp/attach.log &
	attached=$!
	wait_for "the device has a size" has_size
	mount -t ext4 /dev/nbd0 /mnt
	compare /mnt/first
	write_files /mnt/before 20
	n=0
	while [ "$n" -lt "$RESTARTS" ]; do
		n=$((n + 1))
		restart "$n"
	done
	compare /mnt/before
	for during in /mnt/during*; do compare "$during"; done
	grep -q '/mnt ext4 rw' /proc/mounts
	must_refuse
	umount /mnt
	step fsck
	e2fsck -fn /dev/nbd0
	rozobox detach /dev/nbd0
	wait "$attached"
	cat /tmp/attach.log
}

# restart N: the server restarts for the Nth time.
restart() {
	step "restart $1"
	write_files "/mnt/during$1" 60 &
	writer=$!
	usleep 200000
	echo "@@ restart $1"
	wait "$writer"
	step survived
	[ "$(grep -c 'connected again' /tmp/attach.log)" -ge "$1" ]
}

# A mounted device must not be detached by mistake; the watch over it may be
# taken over at any time.
must_refuse() {
	if rozobox detach /dev/nbd0 2>/tmp/refused; then
		echo "a mounted device was detached"
		exit 1
	fi
	grep 'in use' /tmp/refused
	kill -9 "$attached"
	rozobox attach /dev/nbd0 "$VOLUME" --server "10.0.2.2:$PORT" 2>>/tmp/attach.log &
	attached=$!
	wait_for "the watch is taken over" grep -q 'already attached' /tmp/attach.log
}

setup
nbd_client
rozobox_attach
echo "@@ passed"
