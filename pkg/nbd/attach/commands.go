package attach

import (
	"fmt"
	"time"
)

// The commands of the kernel's family "nbd".
const (
	cmdConnect     = 1
	cmdDisconnect  = 2
	cmdReconfigure = 3
	cmdLinkDead    = 4
	cmdStatus      = 5
)

// Their attributes.
const (
	attrIndex           = 1
	attrSizeBytes       = 2
	attrBlockSizeBytes  = 3
	attrTimeout         = 4
	attrServerFlags     = 5
	attrClientFlags     = 6
	attrSockets         = 7
	attrDeadConnTimeout = 8
	attrDeviceList      = 9
	attrIdentifier      = 10

	attrSocketItem = 1 // in attrSockets
	attrSocketFD   = 1 // in attrSocketItem

	attrDeviceItem      = 1 // in attrDeviceList
	attrDeviceIndex     = 1 // in attrDeviceItem
	attrDeviceConnected = 2
)

// setup is what the kernel is told of a device when it is connected.
type setup struct {
	index           uint32
	size            int64
	blockSize       uint32
	flags           uint16
	timeout         time.Duration
	deadConnTimeout time.Duration
	identifier      string
	sockets         []int // file descriptors
}

// encodeConnect lays out CONNECT. Client flags stay 0: the device outlives the
// process that made it.
func encodeConnect(s setup) attrs {
	var a attrs
	a = a.uint32Attr(attrIndex, s.index)
	a = a.uint64Attr(attrSizeBytes, uint64(s.size))
	a = a.uint64Attr(attrBlockSizeBytes, uint64(s.blockSize))
	a = a.uint64Attr(attrTimeout, seconds(s.timeout))
	a = a.uint64Attr(attrDeadConnTimeout, seconds(s.deadConnTimeout))
	a = a.uint64Attr(attrServerFlags, uint64(s.flags))
	a = a.stringAttr(attrIdentifier, s.identifier)
	return a.nestedAttr(attrSockets, encodeSockets(s.sockets))
}

// encodeReconfigure lays out RECONFIGURE: each socket takes the place of a dead
// one; sockets too many are left alone. The identifier must be the device's.
func encodeReconfigure(index uint32, identifier string, sockets []int) attrs {
	var a attrs
	a = a.uint32Attr(attrIndex, index)
	a = a.stringAttr(attrIdentifier, identifier)
	return a.nestedAttr(attrSockets, encodeSockets(sockets))
}

func encodeSockets(sockets []int) attrs {
	var list attrs
	for _, fd := range sockets {
		list = list.nestedAttr(attrSocketItem, attrs(nil).uint32Attr(attrSocketFD, uint32(fd)))
	}
	return list
}

// seconds rounds up: 0 would mean "never" to the kernel.
func seconds(d time.Duration) uint64 {
	return uint64((d + time.Second - 1) / time.Second)
}

// decodeStatus reads the answer to STATUS: whether the device is connected.
func decodeStatus(a attrs, index uint32) (connected bool, err error) {
	list, err := a.find(attrDeviceList)
	if err != nil {
		return false, err
	}
	found := false
	err = attrs(list).each(func(_ uint16, item []byte) error {
		i, err := attrs(item).findUint32(attrDeviceIndex)
		if err != nil || i != index {
			return err
		}
		state, err := attrs(item).find(attrDeviceConnected)
		if err == nil && len(state) != 1 {
			err = fmt.Errorf("%w: device state of %d bytes", errNetlink, len(state))
		}
		found, connected = true, err == nil && state[0] != 0
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("the kernel has no device nbd%d", index)
	}
	return connected, err
}
