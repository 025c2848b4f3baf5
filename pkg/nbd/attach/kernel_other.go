//go:build !linux

package attach

import "errors"

var errNotLinux = errors.New("attaching a block device needs the Linux kernel")

func openKernel() (kernel, error) { return nil, errNotLinux }

func claim(string) error { return errNotLinux }
