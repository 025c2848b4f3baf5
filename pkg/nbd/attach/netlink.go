package attach

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"
)

// Generic netlink, as far as the family "nbd" needs it; doc.go draws the
// layout. All numbers are in the machine's byte order, and everything begins
// on a multiple of four bytes.
const (
	netlinkHeader = 16 // u32 length, u16 type, u16 flags, u32 sequence, u32 port
	genericHeader = 4  // u8 command, u8 version, u16 reserved
	attrHeader    = 4  // u16 length, u16 type
	netlinkAlign  = 4

	typeError = 2 // an acknowledgement too: its error is 0

	flagRequest = 1 << 0
	flagAck     = 1 << 2

	attrNested   = 1 << 15
	attrTypeMask = 1<<14 - 1 // without "nested" and "net byte order"

	// maxMessage bounds what is received at once: the family's description
	// is below 1 KiB, and a page is what the kernel sends at most.
	maxMessage = 16 << 10
)

// errNetlink means that the kernel's answer does not parse.
var errNetlink = errors.New("malformed netlink message")

// message is one netlink message. Either it is an answer to the request with
// its sequence number (typ typeError), or a command of the family typ.
type message struct {
	typ   uint16
	seq   uint32
	errno syscall.Errno // typeError only
	cmd   uint8
	attrs attrs
}

// attrs is a run of attributes.
type attrs []byte

// uint32Attr, uint64Attr, stringAttr and nestedAttr append one
// attribute, padded.
func (a attrs) uint32Attr(typ uint16, v uint32) attrs {
	return a.attr(typ, binary.NativeEndian.AppendUint32(nil, v))
}

func (a attrs) uint64Attr(typ uint16, v uint64) attrs {
	return a.attr(typ, binary.NativeEndian.AppendUint64(nil, v))
}

func (a attrs) stringAttr(typ uint16, s string) attrs {
	return a.attr(typ, append([]byte(s), 0))
}

func (a attrs) nestedAttr(typ uint16, inner attrs) attrs {
	return a.attr(typ|attrNested, inner)
}

func (a attrs) attr(typ uint16, data []byte) attrs {
	a = binary.NativeEndian.AppendUint16(a, uint16(attrHeader+len(data)))
	a = binary.NativeEndian.AppendUint16(a, typ)
	a = append(a, data...)
	return append(a, make([]byte, padding(len(data)))...)
}

// padding is what n lacks to a multiple of netlinkAlign.
func padding(n int) int { return -n & (netlinkAlign - 1) }

// each calls f with every attribute, in order, until it returns an error.
func (a attrs) each(f func(typ uint16, data []byte) error) error {
	for len(a) > 0 {
		if len(a) < attrHeader {
			return fmt.Errorf("%w: %d bytes left of an attribute", errNetlink, len(a))
		}
		size, typ := int(binary.NativeEndian.Uint16(a)), binary.NativeEndian.Uint16(a[2:])
		if size < attrHeader || size > len(a) {
			return fmt.Errorf("%w: attribute of %d bytes in %d", errNetlink, size, len(a))
		}
		if err := f(typ&attrTypeMask, a[attrHeader:size]); err != nil {
			return err
		}
		a = a[min(size+padding(size), len(a)):]
	}
	return nil
}

// find returns the first attribute of the type, or nil.
func (a attrs) find(typ uint16) ([]byte, error) {
	var found []byte
	err := a.each(func(t uint16, data []byte) error {
		if t == typ && found == nil {
			found = data
		}
		return nil
	})
	return found, err
}

// findUint32 returns the attribute of the type, which must be there.
func (a attrs) findUint32(typ uint16) (uint32, error) {
	data, err := a.find(typ)
	if err != nil {
		return 0, err
	}
	if len(data) != 4 {
		return 0, fmt.Errorf("%w: attribute %d has %d bytes, want 4", errNetlink, typ, len(data))
	}
	return binary.NativeEndian.Uint32(data), nil
}

// encodeRequest lays out a command of the family, to be acknowledged.
func encodeRequest(family uint16, seq uint32, cmd uint8, a attrs) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(netlinkHeader+genericHeader+len(a)))
	b = binary.NativeEndian.AppendUint16(b, family)
	b = binary.NativeEndian.AppendUint16(b, flagRequest|flagAck)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0) // to the kernel
	b = append(b, cmd, 1, 0, 0)
	return append(b, a...)
}

// decodeMessages takes one datagram apart. The messages share b's memory.
func decodeMessages(b []byte) ([]message, error) {
	var messages []message
	for len(b) > 0 {
		if len(b) < netlinkHeader {
			return nil, fmt.Errorf("%w: %d bytes left of a header", errNetlink, len(b))
		}
		size := binary.NativeEndian.Uint32(b)
		if size < netlinkHeader || uint64(size) > uint64(len(b)) {
			return nil, fmt.Errorf("%w: length %d in %d bytes", errNetlink, size, len(b))
		}
		m := message{typ: binary.NativeEndian.Uint16(b[4:]), seq: binary.NativeEndian.Uint32(b[8:])}
		if err := m.decodeBody(b[netlinkHeader:size]); err != nil {
			return nil, err
		}
		messages = append(messages, m)
		b = b[min(int(size)+padding(int(size)), len(b)):]
	}
	return messages, nil
}

// decodeBody parses what follows the netlink header.
func (m *message) decodeBody(b []byte) error {
	if len(b) < genericHeader { // an error number is as long
		return fmt.Errorf("%w: body of %d bytes", errNetlink, len(b))
	}
	if m.typ == typeError {
		m.errno = syscall.Errno(-int32(binary.NativeEndian.Uint32(b)))
		return nil
	}
	m.cmd, m.attrs = b[0], attrs(b[genericHeader:])
	return m.attrs.each(func(uint16, []byte) error { return nil })
}

// The controller, the family that knows the other families.
const (
	familyController = 16
	cmdGetFamily     = 3
	ctrlFamilyID     = 1
	ctrlFamilyName   = 2
	ctrlGroups       = 7
	ctrlGroupName    = 1
	ctrlGroupID      = 2
	familyName       = "nbd"
	multicastGroup   = "nbd_mc_group"
)

// decodeFamily reads the controller's answer: the family's number and that of
// its multicast group.
func decodeFamily(a attrs) (family uint16, group uint32, err error) {
	id, err := a.find(ctrlFamilyID)
	if err != nil {
		return 0, 0, err
	}
	groups, err := a.find(ctrlGroups)
	if err != nil {
		return 0, 0, err
	}
	if len(id) != 2 {
		return 0, 0, fmt.Errorf("%w: family number of %d bytes", errNetlink, len(id))
	}
	group, err = decodeGroup(groups)
	return binary.NativeEndian.Uint16(id), group, err
}

// decodeGroup finds the number of the family's multicast group in the list.
func decodeGroup(list attrs) (group uint32, err error) {
	found := false
	err = list.each(func(_ uint16, entry []byte) error {
		name, err := attrs(entry).find(ctrlGroupName)
		if err != nil || string(bytes.TrimRight(name, "\x00")) != multicastGroup {
			return err
		}
		found = true
		group, err = attrs(entry).findUint32(ctrlGroupID)
		return err
	})
	if err == nil && !found {
		err = fmt.Errorf("%w: no multicast group %s", errNetlink, multicastGroup)
	}
	return group, err
}
