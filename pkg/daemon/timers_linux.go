package daemon

import (
	"os"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// timerSlack is how late the kernel may end a sleep. It is less than any of ours
// takes; quic-go paces its packets by shorter ones, and fills a network all the same
// (scripts/bench-cards.sh). With 1 ms a small read or a flushed write takes a fifth
// more CPU than with 4.
const timerSlack = 4 * time.Millisecond

// RelaxTimers lets the kernel end all sleeps of this process up to timerSlack late.
// While there is work, a thread of Go's runtime (sysmon) sleeps for 20 microseconds
// again and again; with the usual slack of 50 that wakes up each process on a small
// machine 14,000 times a second, for up to a third of all it does (scripts/bench.sh,
// 8 chunk servers on 2 cores: a quarter more random writes, 40 % more with flushes).
//
// A thread has its slack from the one that starts it, and sysmon starts before
// main; a program has it from the one that executes it: so this one executes itself.
// It goes on as it is where that cannot be. It comes first in main: what the program
// has opened, and a signal that it has caught, are gone then.
func RelaxTimers() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if slackAtLeast(timerSlack) {
		return
	}
	path, err := os.Executable()
	if err != nil || unix.Prctl(unix.PR_SET_TIMERSLACK, uintptr(timerSlack), 0, 0, 0) != nil {
		return
	}
	if slackAtLeast(timerSlack) { // not so for a thread of real-time priority
		_ = syscall.Exec(path, os.Args, os.Environ())
	}
}

// slackAtLeast reports whether the calling thread's slack is d or more.
func slackAtLeast(d time.Duration) bool {
	slack, err := unix.PrctlRetInt(unix.PR_GET_TIMERSLACK, 0, 0, 0, 0)
	return err == nil && time.Duration(slack) >= d
}
