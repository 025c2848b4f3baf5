package daemon

import "golang.org/x/sys/unix"

const boottimeClock = unix.CLOCK_BOOTTIME
