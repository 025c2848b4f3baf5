package daemon

import (
	"time"

	"golang.org/x/sys/unix"
)

// boottime is the clock of leases: it never goes back, and it counts the time
// that the machine was suspended, which Go's own monotonic clock does not. A
// gateway that wakes up must see that its lease is over.
func boottime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(boottimeClock, &ts); err != nil {
		panic("daemon: no clock that counts suspended time: " + err.Error())
	}
	return time.Duration(ts.Nano())
}
