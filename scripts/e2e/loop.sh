# shellcheck shell=bash
# Sourced after lib.sh by scripts that put a file system on the volume: it becomes
# the block device $LOOP by nbdfuse and a loop device, mounted at $DIR/mnt.

# attach_loop makes $LOOP of the volume.
attach_loop() {
	mkdir -p "$DIR/fuse" "$DIR/mnt"
	launch nbdfuse nbdfuse "$DIR/fuse/disk" "$URI"
	wait_for 20 "nbdfuse is mounted" test -e "$DIR/fuse/disk"
	LOOP=$(losetup --find --show --direct-io=on "$DIR/fuse/disk")
}

# detach_loop takes away what there is of it, dead or alive.
detach_loop() {
	if grep -q " $DIR/mnt " /proc/mounts; then umount "$DIR/mnt" || umount -l "$DIR/mnt"; fi
	if [[ -n ${LOOP:-} ]]; then losetup -d "$LOOP"; fi
	LOOP=
	if grep -q " $DIR/fuse " /proc/mounts; then umount "$DIR/fuse" || umount -l "$DIR/fuse"; fi
	stop nbdfuse
}

# check_clean: nothing to repair, once the journal has been played back.
check_clean() { e2fsck -fn "$LOOP" >"$DIR/fsck.log" 2>&1 || fail "fsck: $(<"$DIR/fsck.log")"; }
