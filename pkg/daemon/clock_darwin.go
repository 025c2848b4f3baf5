package daemon

import "golang.org/x/sys/unix"

// Unlike Linux's clock of this name, Darwin's counts suspended time.
const boottimeClock = unix.CLOCK_MONOTONIC
