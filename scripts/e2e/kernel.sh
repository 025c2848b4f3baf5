#!/usr/bin/env bash
# The kernel's own NBD client: a stock Debian kernel in a virtual machine without
# hardware support attaches the volume, by nbd-client and by rozobox attach, and
# has an ext4 on it, under which the server is killed, and stopped, and started
# again.
# kernel-init.sh is what happens inside.
#
#   scripts/e2e/kernel.sh [--restarts NUMBER]
#
#   --restarts  how often the server is killed and stopped by turns (2)
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

RESTARTS=2
BOOT_SECONDS=240 # for a step of it, at most; about 30 for all on two idle cores

parse_options() {
	(($# == 0)) && return
	[[ $# == 2 && $1 == --restarts && $2 =~ ^[1-9][0-9]*$ ]] || fail "want --restarts NUMBER, not \"$*\""
	RESTARTS=$2
}

# fetch_kernel unpacks the cloud kernel once into the cache. The package of that
# name is empty and depends on the real one.
fetch_kernel() {
	local package
	package=$(apt-cache depends linux-image-cloud-amd64 | sed -n 's/.*Depends: \(linux-image-[^ ]*\).*/\1/p')
	[[ -n $package ]] || fail "apt knows no linux-image-cloud-amd64: run apt-get update"
	RELEASE=${package#linux-image-}
	KERNEL=$CACHE/$package
	[[ -d $KERNEL ]] && return
	say "fetching $package into $CACHE"
	mkdir -p "$CACHE" "$DIR/deb"
	(cd "$DIR/deb" && apt-get -o APT::Sandbox::User=root download -qq "$package" 2>&1 && dpkg-deb -x ./*.deb unpacked)
	depmod -b "$DIR/deb/unpacked" "$RELEASE" 2>/dev/null
	mv "$DIR/deb/unpacked" "$KERNEL.$$"
	mv -T "$KERNEL.$$" "$KERNEL" 2>/dev/null || [[ -d $KERNEL ]] # another run was first
}

# add_modules copies the modules that virtio, the network, NBD and ext4 need,
# and writes down the order to load them in.
add_modules() {
	local name path
	mkdir "$DIR/initramfs/modules"
	for name in virtio_pci virtio_net nbd ext4; do
		modprobe -d "$KERNEL" -S "$RELEASE" --show-depends "$name" | sed -n 's/^insmod \([^ ]*\).*/\1/p'
	done | awk '!seen[$0]++' | while read -r path; do
		cp "$path" "$DIR/initramfs/modules/"
		echo "/modules/${path##*/}"
	done >"$DIR/initramfs/modules/order"
}

# add_program copies a program with its shared libraries.
add_program() {
	local path
	path=$(command -v "$1") || fail "$1 is not installed"
	{ echo "$path"; ldd "$path" 2>/dev/null | grep -o '/[^ ]*' || true; } |
		while read -r file; do cp -L --parents "$file" "$DIR/initramfs"; done
}

make_initramfs() {
	local program
	mkdir -p "$DIR/initramfs/bin"
	cp "$(command -v busybox)" "$DIR/initramfs/bin/busybox"
	cp "$ROZOBOX" "$DIR/initramfs/bin/rozobox"
	cp "$ROOT/scripts/e2e/kernel-init.sh" "$DIR/initramfs/init"
	for program in nbd-client mkfs.ext4 e2fsck; do add_program "$program"; done
	chmod 755 "$DIR/initramfs/init"
	add_modules
	(cd "$DIR/initramfs" && find . | busybox cpio -o -H newc 2>/dev/null | gzip -1) >"$DIR/initramfs.gz"
}

boot() {
	launch console qemu-system-x86_64 -accel tcg,thread=multi -smp 2 -m 512 -nodefaults -no-reboot \
		-display none -serial stdio -nic user,model=virtio \
		-kernel "$KERNEL/boot/vmlinuz-$RELEASE" -initrd "$DIR/initramfs.gz" \
		-append "console=ttyS0 quiet panic=-1 port=$NBD_PORT volume=$VOLUME restarts=$RESTARTS"
}

said() { grep -q "^@@ $1" "$DIR/console.log"; }

restart_asked() { said "restart $1" || said ended; }

# restart N COMMAND: ends the server by COMMAND when the machine asks for it.
restart() {
	wait_for "$BOOT_SECONDS" "the machine asks for restart $1 of the server" restart_asked "$1"
	"$2"
	say "the server is gone ($2)"
	sleep 1
	revive_server
}

machine_ended() { ! running console; }

main() {
	local i
	parse_options "$@"
	begin
	fetch_kernel
	serve
	make_initramfs
	boot
	for ((i = 1; i <= RESTARTS; i++)); do
		if ((i % 2)); then restart "$i" crash_server; else restart "$i" stop_server; fi
	done
	wait_for "$BOOT_SECONDS" "the machine ends" machine_ended
	said passed || fail "see the console's log"
	[[ ${E2E_SERVER:-} == nbdkit ]] || grep -q 'incarnation=[0-9]' "$DIR/console.log" ||
		fail "the export's description tells no incarnation"
	[[ -z ${E2E_VERBOSE:-} ]] || cat "$DIR/console.log"
	sed -n 's/^@@ step/   second/p' "$DIR/console.log"
}

main "$@"
