package attach

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"syscall"
	"testing"
	"time"
)

// littleEndian skips what compares with bytes of a little-endian kernel.
func littleEndian(t *testing.T) {
	if binary.NativeEndian.Uint16([]byte{1, 0}) != 1 {
		t.Skip("the golden bytes are of a little-endian machine")
	}
}

// The golden bytes were taken apart by hand, after the kernel's headers.
func TestEncodeReconfigure(t *testing.T) {
	littleEndian(t)
	got := encodeRequest(0x1c, 9, cmdReconfigure, encodeReconfigure(3, "ab", []int{5, 6}))
	const want = "40000000" + "1c00" + "0500" + "09000000" + "00000000" + // length, family, flags, sequence, port
		"03" + "01" + "0000" + // command, version
		"0800" + "0100" + "03000000" + // index
		"0700" + "0a00" + "61620000" + // identifier, padded
		"1c00" + "0780" + // sockets, nested
		"0c00" + "0180" + "0800" + "0100" + "05000000" +
		"0c00" + "0180" + "0800" + "0100" + "06000000"
	if hex.EncodeToString(got) != want {
		t.Errorf("got  %x\nwant %s", got, want)
	}
}

func TestEncodeConnect(t *testing.T) {
	a := encodeConnect(setup{
		index: 1, size: 1 << 33, blockSize: 4096, flags: 0x16d,
		timeout: 1500 * time.Millisecond, deadConnTimeout: 5 * time.Minute,
		identifier: "id", sockets: []int{7},
	})
	for typ, want := range map[uint16]uint64{
		attrSizeBytes: 1 << 33, attrBlockSizeBytes: 4096, attrServerFlags: 0x16d,
		attrTimeout: 2, attrDeadConnTimeout: 300,
	} {
		data, err := a.find(typ)
		if err != nil || len(data) != 8 || binary.NativeEndian.Uint64(data) != want {
			t.Errorf("attribute %d is %x (%v), want %d", typ, data, err, want)
		}
	}
	if data, _ := a.find(attrClientFlags); data != nil {
		t.Error("client flags are set: the device would not outlive its maker")
	}
	sockets, err := a.find(attrSockets)
	if err != nil || !bytes.Equal(sockets, encodeSockets([]int{7})) {
		t.Errorf("sockets are %x (%v)", sockets, err)
	}
}

func TestDecodeAcknowledgement(t *testing.T) {
	b := binary.NativeEndian.AppendUint32(nil, 36)
	b = binary.NativeEndian.AppendUint16(b, typeError)
	b = append(b, make([]byte, 2)...)
	b = binary.NativeEndian.AppendUint32(b, 42)
	b = append(b, make([]byte, 4)...)
	b = binary.NativeEndian.AppendUint32(b, ^uint32(syscall.EBUSY)+1)
	b = append(b, make([]byte, 16)...) // the request's header comes back
	messages, err := decodeMessages(b)
	if err != nil || len(messages) != 1 {
		t.Fatalf("%d messages, %v", len(messages), err)
	}
	if m := messages[0]; m.errno != syscall.EBUSY || m.seq != 42 {
		t.Errorf("errno %v of request %d, want EBUSY of 42", m.errno, m.seq)
	}
}

func TestDecodeStatus(t *testing.T) {
	item := func(index uint32, connected byte) attrs {
		inner := attrs(nil).uint32Attr(attrDeviceIndex, index).attr(attrDeviceConnected, []byte{connected})
		return attrs(nil).attr(attrDeviceItem, inner)
	}
	answer := attrs(nil).attr(attrDeviceList, append(item(1, 0), item(2, 1)...))
	for index, want := range map[uint32]bool{1: false, 2: true} {
		if got, err := decodeStatus(answer, index); err != nil || got != want {
			t.Errorf("device %d: %v, %v, want %v", index, got, err, want)
		}
	}
	if _, err := decodeStatus(answer, 3); err == nil {
		t.Error("a device that is not listed has a state")
	}
}

func TestDecodeFamily(t *testing.T) {
	group := func(name string, id uint32) attrs {
		return attrs(nil).attr(1, attrs(nil).stringAttr(ctrlGroupName, name).uint32Attr(ctrlGroupID, id))
	}
	answer := attrs(nil).attr(ctrlFamilyID, []byte{0x1c, 0x1c}).
		attr(ctrlGroups, append(group("other", 3), group(multicastGroup, 4)...))
	family, id, err := decodeFamily(answer)
	if err != nil || family != 0x1c1c || id != 4 {
		t.Errorf("family %#x, group %d, %v; want 0x1c1c, 4", family, id, err)
	}
	without := attrs(nil).attr(ctrlFamilyID, []byte{0x1c, 0x1c}).attr(ctrlGroups, group("other", 3))
	if _, _, err := decodeFamily(without); !errors.Is(err, errNetlink) {
		t.Errorf("no group: error %v, want errNetlink", err)
	}
}

func TestDecodeRefusesNonsense(t *testing.T) {
	request := encodeRequest(0x1c, 1, cmdStatus, attrs(nil).uint32Attr(attrIndex, 1))
	for name, b := range map[string][]byte{
		"half a header":       request[:10],
		"length beyond":       request[:len(request)-4],
		"length below":        append([]byte{4, 0, 0, 0}, request[4:]...),
		"attribute too long":  append(bytes.Clone(request[:20]), 200, 0, 1, 0, 0, 0, 0, 0),
		"attribute too short": append(bytes.Clone(request[:20]), 3, 0, 1, 0, 0, 0, 0, 0),
	} {
		if _, err := decodeMessages(b); !errors.Is(err, errNetlink) {
			t.Errorf("%s: error %v, want errNetlink", name, err)
		}
	}
}

func FuzzDecodeMessages(f *testing.F) {
	f.Add(encodeRequest(0x1c, 1, cmdReconfigure, encodeReconfigure(3, "ab", []int{5, 6})))
	f.Add(encodeRequest(typeError, 1, 0, nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		messages, err := decodeMessages(b)
		if err != nil {
			return
		}
		for _, m := range messages {
			decodeFamily(m.attrs)
			decodeStatus(m.attrs, 0)
			m.attrs.findUint32(attrIndex)
		}
	})
}
